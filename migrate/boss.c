/* The line to policyd: see boss.h. */
#include "migrate/boss.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_S 2

struct boss {
	int fd, signal_fd, wake_fd, pidfd;
	const struct boss_handlers *handlers;
	void *arg;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* around writing */
	atomic_bool deaf;     /* policyd reads no longer */
	char line[BOSS_LINE_MAX];
	size_t n;
};

int boss_new(int fd, struct boss **out, struct err *e)
{
	const struct timeval tv = {.tv_sec = SEND_S};
	struct boss *b = calloc(1, sizeof(*b));

	if (!b)
		return err_set(e, ENOMEM, "no memory");
	b->fd = fd;
	b->signal_fd = b->pidfd = -1;
	b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&b->lock, NULL);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)); /* a policyd that hangs must not hold up a guest */
	*out = b;
	return 0;
}

/* Take a line out of the buffer into @out; false: there is none yet. */
static bool line_take(struct boss *b, json_t **out, struct err *e)
{
	char *end = memchr(b->line, '\n', b->n);
	json_error_t je;
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - b->line);
	*out = json_loadb(b->line, n, JSON_REJECT_DUPLICATES, &je);
	if (!*out)
		err_set(e, EINVAL, "policyd's line is not JSON: %s", je.text);
	b->n -= n + 1;
	memmove(b->line, end + 1, b->n);
	return true;
}

/* More octets. 1, 0 end of file, -errno. */
static int fill(struct boss *b)
{
	ssize_t got;

	if (b->n == sizeof(b->line))
		return -EMSGSIZE;
	do {
		got = read(b->fd, b->line + b->n, sizeof(b->line) - b->n);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == ECONNRESET ? 0 : -errno;
	b->n += (size_t)got;
	return got > 0;
}

int boss_first_line(struct boss *b, json_t **out, struct err *e)
{
	int rc;

	while (!line_take(b, out, e)) {
		rc = fill(b);
		if (rc <= 0)
			return err_set(e, rc ? -rc : EPIPE, "no start line from policyd: %s",
				rc ? strerror(-rc) : "end of file");
	}
	return *out ? 0 : -EINVAL;
}

static bool get_u64(const json_t *j, const char *key, uint64_t *out)
{
	const json_t *v = json_object_get(j, key);

	if (!json_is_number(v) || json_number_value(v) < 0)
		return false;
	*out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : (uint64_t)json_real_value(v);
	return true;
}

static const char *get_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static void on_throttled_line(struct boss *b, const json_t *line)
{
	struct boss_throttled a = {.why = get_text(line, "why")};
	uint64_t percent = 0;

	get_u64(line, "percent", &percent);
	a.percent = percent > 99 ? 99 : (unsigned)percent;
	b->handlers->on_throttled(b->arg, &a);
}

static void on_line(struct boss *b, const json_t *line)
{
	const char *op = json_string_value(json_object_get(line, "op"));
	struct boss_limits l = {0};

	if (!op)
		return;
	if (strcmp(op, "cancel") == 0) {
		b->handlers->on_cancel(b->arg);
	} else if (strcmp(op, "limits") == 0) {
		l.has_bandwidth = get_u64(line, "bandwidth_bps", &l.bandwidth_bps);
		l.has_blackout = get_u64(line, "max_blackout_ms", &l.max_blackout_ms);
		l.has_throttle = get_u64(line, "throttle_max_percent", &l.throttle_max);
		l.has_patient = json_is_boolean(json_object_get(line, "patient"));
		l.patient = json_is_true(json_object_get(line, "patient"));
		b->handlers->on_limits(b->arg, &l);
	} else if (strcmp(op, "suspend") == 0) {
		b->handlers->on_suspend(b->arg);
	} else if (strcmp(op, "throttled") == 0) {
		on_throttled_line(b, line);
	} else if (strcmp(op, "go") == 0) {
		b->handlers->on_go(b->arg);
	}
}

static void *boss_main(void *arg)
{
	struct boss *b = arg;
	struct pollfd p[4] = {{.fd = b->fd, .events = POLLIN}, {.fd = b->wake_fd, .events = POLLIN},
		{.fd = b->signal_fd, .events = POLLIN}, {.fd = b->pidfd, .events = POLLIN}};
	struct signalfd_siginfo info;
	json_t *line;

	for (;;) {
		while (line_take(b, &line, NULL)) {
			if (line)
				on_line(b, line);
			json_decref(line);
		}
		if (poll(p, 4, -1) < 0 && errno == EINTR)
			continue;
		if (p[1].revents)
			return NULL;
		if (p[2].revents && read(b->signal_fd, &info, sizeof(info)) == sizeof(info))
			b->handlers->on_cancel(b->arg);
		if (p[3].revents) {
			b->handlers->on_qemu_end(b->arg);
			p[3].fd = -1;
			p[3].revents = 0;
		}
		if (p[0].revents && fill(b) <= 0) {
			b->handlers->on_gone(b->arg);
			p[0].fd = -1;
			p[0].revents = 0;
		}
	}
}

int boss_start(struct boss *b, int pidfd, const struct boss_handlers *handlers, void *arg, struct err *e)
{
	sigset_t set;

	b->pidfd = pidfd;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	b->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	b->handlers = handlers;
	b->arg = arg;
	if (pthread_create(&b->thread, NULL, boss_main, b) != 0)
		return err_set(e, EAGAIN, "cannot start a thread");
	b->has_thread = true;
	return 0;
}

void boss_send(struct boss *b, json_t *event)
{
	char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0, done = 0;

	json_decref(event);
	if (!text)
		return;
	text[n++] = '\n'; /* in the place of the final 0 */
	pthread_mutex_lock(&b->lock);
	while (done < n && !atomic_load(&b->deaf)) {
		ssize_t put = write(b->fd, text + done, n - done);

		if (put > 0)
			done += (size_t)put;
		else if (errno != EINTR)
			atomic_store(&b->deaf, true);
	}
	pthread_mutex_unlock(&b->lock);
	free(text);
}

void boss_free(struct boss *b)
{
	uint64_t one = 1;

	if (!b)
		return;
	if (b->has_thread) {
		if (write(b->wake_fd, &one, sizeof(one)) < 0) {
			/* full: readable already */
		}
		pthread_join(b->thread, NULL);
	}
	if (b->signal_fd >= 0)
		close(b->signal_fd);
	if (b->pidfd >= 0)
		close(b->pidfd);
	close(b->wake_fd);
	close(b->fd);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
