/* A guest agent for tests: see fake_agent.h. */
#include "tests/unit/support/fake_agent.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

void fake_agent_say(struct fake_agent *a, const void *bytes, size_t n)
{
	bufferevent_write(a->guest, bytes, n);
}

void fake_agent_say_text(struct fake_agent *a, const char *text)
{
	fake_agent_say(a, text, strlen(text));
}

void fake_agent_sync(struct fake_agent *a, const json_t *args)
{
	char text[100];

	snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n",
		(long long)json_integer_value(json_object_get(args, "id")));
	fake_agent_say_text(a, text);
}

static void on_line(struct fake_agent *a, const char *line)
{
	json_t *j = json_loads(line + (*line == '\xff'), 0, NULL);
	const char *cmd = json_string_value(json_object_get(j, "execute"));

	assert_non_null(cmd);
	a->heard++;
	a->on_command(a, cmd, json_object_get(j, "arguments"));
	json_decref(j);
}

static void on_guest_read(struct bufferevent *bev, void *arg)
{
	struct fake_agent *a = arg;
	size_t n;
	char *line;

	while (bev == a->guest && (line = evbuffer_readln(bufferevent_get_input(bev), &n, EVBUFFER_EOL_LF))) {
		on_line(a, line);
		free(line);
	}
}

static void on_guest_event(struct bufferevent *bev, short what, void *arg)
{
	struct fake_agent *a = arg;

	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	bufferevent_free(bev);
	a->guest = NULL;
	a->gone++;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct fake_agent *a = arg;

	(void)l, (void)sa, (void)len;
	if (a->guest)
		bufferevent_free(a->guest);
	a->guest = bufferevent_socket_new(a->base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(a->guest, on_guest_read, NULL, on_guest_event, a);
	bufferevent_enable(a->guest, EV_READ | EV_WRITE);
}

void fake_agent_start(struct fake_agent *a, fake_agent_fn *on_command, void *arg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	signal(SIGPIPE, SIG_IGN); /* as policyd does */
	*a = (struct fake_agent){.dir = "/tmp/qga-XXXXXX", .on_command = on_command, .arg = arg};
	assert_non_null(mkdtemp(a->dir));
	snprintf(a->path, sizeof(a->path), "%s/qga.sock", a->dir);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", a->path);
	a->base = event_base_new();
	a->listener = evconnlistener_new_bind(
		a->base, on_accept, a, LEV_OPT_CLOSE_ON_FREE, 4, (struct sockaddr *)&sa, sizeof(sa));
	assert_non_null(a->listener);
}

void fake_agent_stop(struct fake_agent *a)
{
	if (a->guest)
		bufferevent_free(a->guest);
	evconnlistener_free(a->listener);
	event_base_free(a->base);
	unlink(a->path);
	rmdir(a->dir);
}

void fake_agent_until(struct fake_agent *a, const unsigned *counter, unsigned at_least)
{
	for (unsigned i = 0; i < 1000 && *counter < at_least; i++)
		event_base_loop(a->base, EVLOOP_ONCE);
	assert_true(*counter >= at_least);
}
