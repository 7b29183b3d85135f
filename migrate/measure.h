/* The programs "measure" and "sink" of policyd-migrate: what a move would have to do, looked at before it begins. docs/worker.md. Nothing of the
 * guest is sent and nothing of it is changed; its tracker is let go before the answer. */
#ifndef MIGRATE_MEASURE_H
#define MIGRATE_MEASURE_H

/* Reads one line from @fd, answers with one "measure" event and a "done". Exit status. */
int measure_main(int fd);
/* The other end of a probe: listens, throws away what comes, ends. */
int sink_main(int fd);

#endif
