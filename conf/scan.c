/* A look at a file's text before libconfig parses it, for what libconfig does not say or does wrong: whole numbers that do not
 * fit are cut silently, brackets nested without end overflow the stack, a missing include has no name. Follows includes.
 * Called by reader.c. Loop thread. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/reader.h"

#define FILE_BYTES_MAX (4 << 20)
#define DEPTH_MAX 64
#define INCLUDES_MAX 10

struct scan {
	struct reader *r;
	const char *file; /* for messages */
	const char *p;
	unsigned line, depth, include_depth;
	bool text_only; /* includes are refused */
};

static void scan_file(struct reader *r, const char *path, const char *file, unsigned include_depth);

static void fault(struct scan *s, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fault(struct scan *s, const char *key, const char *fmt, ...)
{
	char reason[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	reader_add(s->r, s->file, s->line, key, reason);
}

static void skip_string(struct scan *s)
{
	for (s->p++; *s->p && *s->p != '"'; s->p++) {
		if (*s->p == '\\' && s->p[1])
			s->p++;
		s->line += *s->p == '\n';
	}
	s->p += *s->p == '"';
}

static void skip_line(struct scan *s)
{
	s->p += strcspn(s->p, "\n");
}

static void skip_comment(struct scan *s)
{
	if (s->p[1] == '/') {
		skip_line(s);
	} else if (s->p[1] == '*') {
		for (s->p += 2; *s->p && !(s->p[0] == '*' && s->p[1] == '/'); s->p++)
			s->line += *s->p == '\n';
		s->p += *s->p ? 2 : 0;
	} else {
		s->p++;
	}
}

/* At a digit: libconfig keeps 32 bits of it unless an L follows. */
static void check_number(struct scan *s)
{
	bool hex = s->p[0] == '0' && (s->p[1] | 32) == 'x';
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s->p, &end, hex ? 16 : 10);
	if (*end != '.' && (*end | 32) != 'e' && *end != 'L' && (errno || v > 0x7fffffff))
		fault(s, "", "%.*s is too large a number; sizes and times are written with a unit (\"8G\")",
			(int)(end - s->p), s->p);
	s->p = end;
	s->p += strspn(s->p, ".0123456789eEL");
}

static void follow_include(struct scan *s)
{
	char name[PATH_MAX], path[2 * PATH_MAX];
	const char *q = s->p + strlen("@include");
	size_t n;

	q += strspn(q, " \t");
	n = *q == '"' ? strcspn(q + 1, "\"\n") : 0;
	snprintf(name, sizeof(name), "%.*s", (int)n, q + (n > 0));
	if (s->text_only)
		fault(s, "@include", "is not possible here; put everything into one file");
	else if (!n)
		fault(s, "@include", "needs a file name in quotes");
	else if (name[0] == '/')
		fault(s, "@include", "%.200s: write it relative to the folder of the main file, %.200s", name,
			s->r->folder);
	else if (s->include_depth >= INCLUDES_MAX)
		fault(s, "@include", "%.200s: more than %d files deep; does it include itself?", name, INCLUDES_MAX);
	else {
		snprintf(path, sizeof(path), "%s/%s", s->r->folder, name);
		if (access(path, R_OK))
			fault(s, "@include", "%.400s: %s", path, strerror(errno));
		else
			scan_file(s->r, path, name, s->include_depth + 1);
	}
	skip_line(s);
}

static void step(struct scan *s, bool line_start)
{
	if (*s->p == '"') {
		skip_string(s);
	} else if (*s->p == '#') {
		skip_line(s);
	} else if (*s->p == '/') {
		skip_comment(s);
	} else if (isdigit((unsigned char)*s->p)) {
		check_number(s);
	} else if (isalpha((unsigned char)*s->p) || *s->p == '*') {
		while (isalnum((unsigned char)*s->p) || (*s->p && strchr("*-_", *s->p)))
			s->p++;
	} else if (line_start && strncmp(s->p, "@include", 8) == 0) {
		follow_include(s);
	} else {
		if (strchr("({[", *s->p) && ++s->depth == DEPTH_MAX)
			fault(s, "", "brackets are nested too deep");
		if (strchr(")}]", *s->p) && s->depth > 0)
			s->depth--;
		s->p++;
	}
}

static void scan_text(struct scan *s)
{
	bool line_start = true;

	s->line = 1;
	while (*s->p && !s->r->no_memory && s->r->n < MISTAKES_MAX) {
		if (*s->p == '\n') {
			s->line++;
			line_start = true;
			s->p++;
		} else if (isspace((unsigned char)*s->p)) {
			s->p++;
		} else {
			step(s, line_start);
			line_start = false;
		}
	}
}

/* The whole file, 0-terminated, or NULL with a mistake recorded. */
static char *slurp(struct scan *s, const char *path)
{
	char *text = NULL;
	struct stat st;
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f || fstat(fileno(f), &st)) {
		fault(s, "", "cannot be read: %s", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		fault(s, "", "cannot be read: it is not a regular file");
	} else if (st.st_size > FILE_BYTES_MAX) {
		fault(s, "", "cannot be read: it is larger than 4M");
	} else if (!(text = malloc((size_t)st.st_size + 1))) {
		s->r->no_memory = true;
	} else {
		n = fread(text, 1, (size_t)st.st_size, f);
		text[n] = '\0';
		if (strlen(text) != n)
			fault(s, "", "is not a text file (it has a zero byte)");
	}
	if (f)
		fclose(f);
	return text;
}

static void scan_file(struct reader *r, const char *path, const char *file, unsigned include_depth)
{
	struct scan s = {.r = r, .file = file, .line = 1, .include_depth = include_depth};
	char *text = slurp(&s, path);

	if (text) {
		s.p = text;
		scan_text(&s);
	}
	free(text);
}

void reader_scan_file(struct reader *r, const char *path)
{
	scan_file(r, path, NULL, 0);
}

void reader_scan_text(struct reader *r, const char *text)
{
	struct scan s = {.r = r, .p = text, .text_only = true};

	scan_text(&s);
}
