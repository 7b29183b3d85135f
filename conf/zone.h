/* Time zones by their IANA name ("Europe/Berlin"), from the time zone files that the C library uses as well.
 *
 * A zone is read once, when a configuration is read, and is plain data from then on: what its local time is at a moment is a pure function of
 * it, without TZ, setenv and the C library's global state, so that it may be asked on any thread and for any moment. */
#ifndef CONF_ZONE_H
#define CONF_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZONE_NAME 64
#define ZONE_CHANGES_MAX 64 /* from 2015 on; what comes later follows the zone's rule */

struct zone_date { /* a day of each year, and when on it */
	enum zone_day { ZONE_WEEKDAY, ZONE_JULIAN, ZONE_DAY } kind;
	int month, week,
		day; /* WEEKDAY: the week-th (5 = last) day (0 = Sunday) of month; JULIAN: 1..365, no 29 February; DAY: 0..365 */
	int32_t at_s; /* after midnight, local time */
};

struct zone {
	char name[ZONE_NAME]; /* "" = this host's own local time */
	int32_t first_s;      /* seconds east of UTC before the first change */
	unsigned n;
	struct zone_change {
		int64_t at_s; /* since 1970, UTC */
		int32_t offset_s;
	} changes[ZONE_CHANGES_MAX];
	bool ruled; /* what follows the last change goes by rule */
	bool saves; /* daylight saving: from begin to end of each year */
	int32_t std_s, dst_s;
	struct zone_date begin, end;
};

/* Read the zone of that name. -EINVAL, with the reason as a phrase for "key: "; @out is untouched then. Reads one small local file. */
int zone_load(const char *name, struct zone *out, char *reason, size_t reason_size);
/* Seconds east of UTC. Pure. */
int32_t zone_offset_s(const struct zone *z, int64_t utc_s);

/* The parts, for tests. */
int zone_parse(const unsigned char *file, size_t n,
	struct zone *out);                         /* a TZif file (RFC 8536), of version 1 to 4; not the name */
int zone_rule(const char *text, struct zone *out); /* "CET-1CEST,M3.5.0,M10.5.0/3" */

#endif
