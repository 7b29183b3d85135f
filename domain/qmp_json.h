/* One line of QMP to JSON. Pure, any thread; fed with whatever the socket gives (fuzzed). */
#ifndef DOMAIN_QMP_JSON_H
#define DOMAIN_QMP_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "domain/err.h"

/* A new reference to the object on @line, or NULL and -EPROTO in @e. QEMU writes unsigned 64-bit numbers, jansson reads signed ones:
 * a number above INT64_MAX becomes its two's complement (all-ones: -1), so that (uint64_t)json_integer_value() is what QEMU said. */
json_t *qmp_json_parse(const char *line, size_t n, struct err *e);

#endif
