/* Shorthands for rows of a schema (schema.h): where a member is, and what kind of list. conf/ only, in the files that hold rows. */
#ifndef CONF_ROWS_H
#define CONF_ROWS_H

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TABLE(rows)                                                                                                    \
	{                                                                                                              \
		rows, COUNT(rows)                                                                                      \
	}
#define AT(type, member) .off = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define TEXTS(type, member, n)                                                                                         \
	.off = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member[0]),                           \
	.max = COUNT(((struct type *)0)->member), .off2 = offsetof(struct type, n)
#define MANY(type, member, n)                                                                                          \
	&(const struct key_list)                                                                                       \
	{                                                                                                              \
		sizeof(((struct type *)0)->member[0]), offsetof(struct type, member), offsetof(struct type, n),        \
			COUNT(((struct type *)0)->member), 0                                                           \
	}
#define HEAP(type, member, n, most)                                                                                    \
	&(const struct key_list)                                                                                       \
	{                                                                                                              \
		sizeof(*((struct type *)0)->member), offsetof(struct type, member), offsetof(struct type, n), most, 1  \
	}
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define PERCENT RANGE(0, 100), .unit = "%"
#define SUB(t) .sub = &(t) /* NOLINT(bugprone-macro-parentheses): a designator */

#endif
