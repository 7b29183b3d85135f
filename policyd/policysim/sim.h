/* The commands of policysim. Each gets its own name as argv[0] and returns the exit code: 0 done, 1 differs or unreadable,
 * 2 = SIM_USAGE (main then prints the usage). Nothing is connected, nothing on this machine changes. */
#ifndef POLICYD_POLICYSIM_SIM_H
#define POLICYD_POLICYSIM_SIM_H

#define SIM_USAGE 2

int sim_decide(int argc, char **argv);      /* replay.c */
int sim_replay(int argc, char **argv);      /* replay.c */
int sim_test_policy(int argc, char **argv); /* policy_test.c */
int sim_trim(int argc, char **argv);        /* trim_cmd.c */

#endif
