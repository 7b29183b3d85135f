/* Memory traces: see trace.h. A header line names the columns, in any order; others are not looked at. */
#include "policyd/policysim/trace.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 64

enum column { COL_VM, COL_TIME, COL_CAP, COL_USED, N_COLS };

static const char *const columns[N_COLS] = {
	[COL_VM] = "vm", [COL_TIME] = "t_s", [COL_CAP] = "mem_cap_mib", [COL_USED] = "mem_used_mib"};

/* Room for one more of @size bytes in *@p, which has *@room. */
static int make_room(void *p, unsigned n, unsigned *room, size_t size)
{
	unsigned more = *room ? 2 * *room : 64;
	void *bigger;

	if (n < *room)
		return 0;
	bigger = reallocarray(*(void **)p, more, size);
	if (!bigger)
		return -ENOMEM;
	*(void **)p = bigger;
	*room = more;
	return 0;
}

/* The last one first: most recordings hold one domain after the other. */
static struct trace_vm *find_vm(struct trace *t, const char *name)
{
	unsigned i;

	for (i = t->n; i-- > 0;)
		if (strcmp(t->vms[i].name, name) == 0)
			return &t->vms[i];
	if (make_room(&t->vms, t->n, &t->room, sizeof(*t->vms)))
		return NULL;
	t->vms[t->n] = (struct trace_vm){0};
	snprintf(t->vms[t->n].name, sizeof(t->vms[t->n].name), "%s", name);
	return &t->vms[t->n++];
}

int trace_add(struct trace *t, const char *name, int64_t t_s, double cap_mib, double used_mib)
{
	struct trace_vm *vm;

	t->rows++;
	if (!(cap_mib > 0)) {
		t->n_no_cap++;
		return 0;
	}
	vm = find_vm(t, name);
	if (!vm || make_room(&vm->samples, vm->n, &vm->room, sizeof(*vm->samples)))
		return -ENOMEM;
	t->n_unordered += vm->n && vm->samples[vm->n - 1].t_s > t_s;
	vm->samples[vm->n++] = (struct trace_sample){t_s, cap_mib, used_mib};
	return 0;
}

static int by_time(const void *pa, const void *pb)
{
	const struct trace_sample *a = pa, *b = pb;

	if (a->t_s != b->t_s)
		return a->t_s < b->t_s ? -1 : 1;
	return (a->used_mib < b->used_mib) - (a->used_mib > b->used_mib);
}

static unsigned long sort_vm(struct trace_vm *vm)
{
	unsigned i, n = 0, before = vm->n;

	if (!vm->n)
		return 0;
	qsort(vm->samples, vm->n, sizeof(*vm->samples), by_time);
	for (i = 0; i < vm->n; i++)
		if (!n || vm->samples[n - 1].t_s != vm->samples[i].t_s)
			vm->samples[n++] = vm->samples[i];
	vm->n = n;
	return before - n;
}

void trace_sort(struct trace *t)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		t->n_repeated += sort_vm(&t->vms[i]);
}

static unsigned split(char *line, char **field)
{
	unsigned n = 0;

	line[strcspn(line, "\r\n")] = '\0';
	while (n < MAX_COLUMNS && (field[n] = strsep(&line, ",;")))
		n++;
	return n;
}

/* Where each column is: @at. */
static int read_header(char *line, unsigned *at, struct err *e)
{
	char *field[MAX_COLUMNS];
	unsigned n = split(line, field), c, i;

	for (c = 0; c < N_COLS; c++) {
		for (i = 0; i < n && strcmp(field[i], columns[c]) != 0; i++)
			;
		if (i == n)
			return err_set(e, EINVAL,
				"the first line names no column \"%s\" (needed: vm,t_s,mem_cap_mib,mem_used_mib)",
				columns[c]);
		at[c] = i;
	}
	return 0;
}

/* A finite number >= 0; an empty field is 0. */
static int read_number(const char *text, const char *what, double *out, struct err *e)
{
	char *end;
	double x;

	errno = 0;
	x = strtod(text, &end);
	if (*end || errno || !isfinite(x) || x < 0 || x > 1e15)
		return err_set(e, EINVAL, "%s: \"%.40s\" is not a number from 0 up", what, text);
	*out = x;
	return 0;
}

static int read_row(struct trace *t, char *line, const unsigned *at, struct err *e)
{
	char *field[MAX_COLUMNS];
	unsigned n = split(line, field), c;
	double x[N_COLS];

	for (c = 0; c < N_COLS; c++)
		if (at[c] >= n)
			return err_set(e, EINVAL, "has only %u columns", n);
	for (c = COL_TIME; c < N_COLS; c++)
		if (read_number(field[at[c]], columns[c], &x[c], e))
			return -e->code;
	if (!*field[at[COL_VM]] || strlen(field[at[COL_VM]]) >= sizeof(t->vms->name))
		return err_set(e, EINVAL, "vm: a name has 1 to %zu characters", sizeof(t->vms->name) - 1);
	if (trace_add(t, field[at[COL_VM]], (int64_t)x[COL_TIME], x[COL_CAP], x[COL_USED]))
		return err_set(e, ENOMEM, "no memory for more samples");
	return 0;
}

/* The next line that is neither empty nor a comment; false at the end. */
static bool next_line(FILE *f, char **line, size_t *size, unsigned *line_no)
{
	while (getline(line, size, f) >= 0) {
		(*line_no)++;
		if ((*line)[0] != '#' && (*line)[strspn(*line, " \t\r\n")] != '\0')
			return true;
	}
	return false;
}

int trace_read(FILE *f, const char *name, struct trace *t, struct err *e)
{
	unsigned at[N_COLS] = {0}, line_no = 0;
	char *line = NULL;
	size_t size = 0;
	int err = 0;

	*t = (struct trace){0};
	if (next_line(f, &line, &size, &line_no))
		err = read_header(line, at, e);
	while (!err && next_line(f, &line, &size, &line_no))
		err = read_row(t, line, at, e);
	if (err)
		err_wrap(e, "%s:%u", name, line_no);
	else if (ferror(f))
		err = err_set(e, EIO, "%s: cannot be read", name);
	else if (!t->n)
		err = err_set(e, EINVAL, "%s: holds no samples", name);
	trace_sort(t);
	if (err)
		trace_fini(t);
	free(line);
	return err;
}

void trace_fini(struct trace *t)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		free(t->vms[i].samples);
	free(t->vms);
	*t = (struct trace){0};
}
