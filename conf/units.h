/* Values as an operator writes them, beyond what conf.h offers: ports, time of day, days. Pure. 0 or -EINVAL; outputs are
 * untouched on failure. */
#ifndef CONF_UNITS_H
#define CONF_UNITS_H

#include <stdbool.h>
#include <stdint.h>

int ports_parse(const char *text, uint16_t *first_out, uint16_t *last_out); /* "5000-5100", "5000"; first <= last */
int tod_parse(const char *text, unsigned *minutes_out);                     /* "08:00" .. "24:00" (= 0) */
int days_parse(const char *text, unsigned *bits_out); /* "Mon-Fri", "Sat,Sun", "Fri-Mon"; bit 0 = Monday */

bool utf8_valid(const char *text); /* what JSON can carry */

#endif
