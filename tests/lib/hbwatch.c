/* hbwatch FILE...: tells when each line of the guests' console logs arrived. Started by ballast.Heartbeats; one thread.
 *
 * A file may come, go and come again (a guest that moves away and back): each time it is a new stream. Lines that are there when a
 * stream begins are told as well. Output, one record a line, times in CLOCK_MONOTONIC nanoseconds:
 *     open STREAM FILE         line STREAM NS TEXT        tail STREAM NS TEXT     (an unfinished line as it stands now)
 * inotify wakes us on each write; with real-time priority (where allowed) the time is right within a fraction of a millisecond. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 5 /* how often we look for files that have come or been replaced */
#define TEXT_MAX 2000

struct watched {
	const char *path;
	int fd, wd, stream;
	dev_t dev;
	ino_t ino;
	char text[TEXT_MAX]; /* the unfinished line */
	size_t len;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void line_add(struct watched *w, const char *buf, size_t n, uint64_t t)
{
	for (size_t i = 0; i < n; i++) {
		if (buf[i] == '\n' || w->len == TEXT_MAX - 1) {
			printf("line %d %llu %.*s\n", w->stream, (unsigned long long)t, (int)w->len, w->text);
			w->len = 0;
		}
		if (buf[i] >= ' ')
			w->text[w->len++] = buf[i];
	}
}

static void file_read(struct watched *w)
{
	char buf[65536];
	uint64_t t = now_ns();
	bool some = false;
	ssize_t n;

	while (w->fd >= 0 && (n = read(w->fd, buf, sizeof(buf))) > 0) {
		line_add(w, buf, (size_t)n, t);
		some = true;
	}
	if (some && w->len)
		printf("tail %d %llu %.*s\n", w->stream, (unsigned long long)t, (int)w->len, w->text);
}

static void file_close(struct watched *w, int notify)
{
	if (w->fd < 0)
		return;
	file_read(w);
	inotify_rm_watch(notify, w->wd);
	close(w->fd);
	w->fd = -1;
	w->len = 0;
}

/* Open it if it has come; close it if it is gone or another file now. */
static void file_look(struct watched *w, int notify, int *n_streams)
{
	struct stat st;

	if (stat(w->path, &st) != 0)
		st.st_ino = 0;
	if (w->fd >= 0 && (st.st_ino != w->ino || st.st_dev != w->dev))
		file_close(w, notify);
	if (w->fd >= 0 || !st.st_ino)
		return;
	w->fd = open(w->path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0 || fstat(w->fd, &st) != 0)
		return;
	w->dev = st.st_dev;
	w->ino = st.st_ino;
	w->wd = inotify_add_watch(notify, w->path, IN_MODIFY);
	w->stream = (*n_streams)++;
	printf("open %d %s\n", w->stream, w->path);
	file_read(w);
}

int main(int argc, char **argv)
{
	int notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), n = argc - 1, n_streams = 0;
	struct watched *w = calloc((size_t)argc, sizeof(*w));
	struct sched_param param = {.sched_priority = 20};
	struct pollfd fds[2] = {{.fd = notify, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	char events[4096];

	if (notify < 0 || !w)
		return 1;
	sched_setscheduler(0, SCHED_FIFO, &param); /* without it the times are less sharp, that is all */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < n; i++)
		w[i] = (struct watched){.path = argv[i + 1], .fd = -1};
	while (!(fds[1].revents & (POLLIN | POLLHUP))) { /* stdin closed: our reader is gone */
		for (int i = 0; i < n; i++) {
			file_look(&w[i], notify, &n_streams);
			file_read(&w[i]);
		}
		fflush(stdout);
		if (poll(fds, 2, LOOK_MS) > 0)
			while (read(notify, events, sizeof(events)) > 0)
				;
	}
	return 0;
}
