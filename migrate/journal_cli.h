/* 'policyd-migrate journal ...': the hand-off journals for operators, scripts and policyd. */
#ifndef MIGRATE_JOURNAL_CLI_H
#define MIGRATE_JOURNAL_CLI_H

/* argv[0] is "journal". Exit status: 0 done, 1 refused or failed (one line on stderr), 2 usage. */
int journal_cli_main(int argc, char **argv);

#endif
