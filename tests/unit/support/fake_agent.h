/* A guest agent for tests: QEMU's end of its channel, in the caller's own event loop. It hears; what it says to that is the test's. */
#ifndef TESTS_FAKE_AGENT_H
#define TESTS_FAKE_AGENT_H

#include <jansson.h>
#include <stddef.h>

struct fake_agent;
/* A command came; both are borrowed, @args may be NULL. */
typedef void fake_agent_fn(struct fake_agent *a, const char *cmd, const json_t *args);

struct fake_agent { /* to be part of the test's own */
	struct event_base *base;
	char dir[32], path[64]; /* path: for qga_new */
	struct evconnlistener *listener;
	struct bufferevent *guest; /* its end of the last connection */
	fake_agent_fn *on_command;
	void *arg;
	unsigned heard; /* commands */
	unsigned gone;  /* connections that the client has closed */
};

/* Makes base, folder and listener. Aborts the test where it cannot. */
void fake_agent_start(struct fake_agent *a, fake_agent_fn *on_command, void *arg);
void fake_agent_stop(struct fake_agent *a); /* after qga_free */
void fake_agent_say(struct fake_agent *a, const void *bytes, size_t n);
void fake_agent_say_text(struct fake_agent *a, const char *text);
/* The answer to guest-sync-delimited. */
void fake_agent_sync(struct fake_agent *a, const json_t *args);
/* Runs the loop until @counter has reached @at_least; fails the test where it does not. */
void fake_agent_until(struct fake_agent *a, const unsigned *counter, unsigned at_least);

#endif
