/* A small mutating driver for compilers without libFuzzer: FUZZER [-n ITERATIONS] [-t SECONDS] [-s SEED] FILE|FOLDER...
 * First every input as it is, then mutants of them: bytes flipped, cut, repeated, spliced with another input. No coverage feedback;
 * the sanitizers find what is wrong. On a crash the input is in FUZZ_CRASH (default fuzz-crash.bin): run FUZZER -n 0 FILE. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX 65536

struct input {
	uint8_t *data;
	size_t size;
};

struct corpus {
	struct input *v;
	size_t n;
};

static int add_file(struct corpus *c, const char *path)
{
	FILE *f = fopen(path, "rb");
	struct input in = {malloc(INPUT_MAX), 0};
	struct input *v;

	if (!f || !in.data) {
		fprintf(stderr, "fuzz: %s: cannot be read\n", path);
		free(in.data);
		if (f)
			fclose(f);
		return -1;
	}
	in.size = fread(in.data, 1, INPUT_MAX, f);
	fclose(f);
	v = realloc(c->v, (c->n + 1) * sizeof(*v));
	if (!v) {
		free(in.data);
		return -1;
	}
	c->v = v;
	c->v[c->n++] = in;
	return 0;
}

static int add_path(struct corpus *c, const char *path)
{
	struct dirent *e;
	struct stat st;
	char below[4096];
	DIR *d;
	int err = 0;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
		return add_file(c, path);
	d = opendir(path);
	if (!d) {
		fprintf(stderr, "fuzz: %s: no such file or folder\n", path);
		return -1;
	}
	while (!err && (e = readdir(d))) {
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.' && stat(below, &st) == 0)
			err = add_path(c, below);
	}
	closedir(d);
	return err;
}

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* One change to @out (of @size bytes, room for INPUT_MAX); the new size. */
static size_t mutate(uint8_t *out, size_t size, const struct corpus *c, uint64_t *s)
{
	static const char *const bits[] = {"-1", "0", "4294967296", "\"\"", "{", "}", "(", ")", "[", "]", ";", "=",
		"\\", "\x80", "999999G", ",", "%n"};
	size_t at = size ? next_random(s) % size : 0, n = size ? next_random(s) % (size - at) + 1 : 0;
	const struct input *other = &c->v[next_random(s) % c->n];
	const char *bit = bits[next_random(s) % (sizeof(bits) / sizeof(bits[0]))];

	switch (next_random(s) % 7) {
	case 0:
		if (size)
			out[at] ^= (uint8_t)(1u << (next_random(s) % 8));
		return size;
	case 1:
		if (size)
			out[at] = (uint8_t)next_random(s);
		return size;
	case 2: /* cut */
		memmove(out + at, out + at + n, size - at - n);
		return size - n;
	case 3: /* repeat */
		n = n > 64 ? 64 : n;
		if (size + n > INPUT_MAX)
			return size;
		memmove(out + at + n, out + at, size - at);
		return size + n;
	case 4: /* splice */
		n = other->size > at ? other->size - at : 0;
		if (at + n > INPUT_MAX)
			n = INPUT_MAX - at;
		memcpy(out + at, other->data + (other->size - n), n);
		return at + n;
	case 5: /* insert something that parsers stumble over */
		n = strlen(bit);
		if (size + n > INPUT_MAX)
			return size;
		memmove(out + at + n, out + at, size - at);
		memcpy(out + at, bit, n);
		return size + n;
	default:
		return at;
	}
}

static int save(const uint8_t *data, size_t size)
{
	const char *path = getenv("FUZZ_CRASH");
	FILE *f = fopen(path ? path : "fuzz-crash.bin", "wb");

	if (!f)
		return -1;
	fwrite(data, 1, size, f);
	return fclose(f);
}

static int run(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1); /* so that reading one byte too far is seen */

	if (!exact || save(data, size)) {
		free(exact);
		return -1;
	}
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 0;
}

static int fuzz(const struct corpus *c, unsigned long n, unsigned seconds, uint64_t seed)
{
	static uint8_t buf[INPUT_MAX];
	time_t end = time(NULL) + seconds;
	unsigned long i;
	size_t size;

	for (i = 0; i < c->n; i++)
		if (run(c->v[i].data, c->v[i].size))
			return -1;
	for (i = 0; i < n && (!seconds || time(NULL) < end); i++) {
		const struct input *in = &c->v[next_random(&seed) % c->n];

		size = in->size;
		memcpy(buf, in->data, size);
		for (unsigned k = next_random(&seed) % 6; k != (unsigned)-1; k--)
			size = mutate(buf, size, c, &seed);
		if (run(buf, size))
			return -1;
	}
	printf("fuzz: %zu inputs and %lu mutants, nothing wrong\n", c->n, i);
	return 0;
}

int main(int argc, char **argv)
{
	struct corpus c = {0};
	unsigned long n = 100000;
	unsigned seconds = 0;
	uint64_t seed = 88172645463325252ULL;
	int opt, err = 0;

	while ((opt = getopt(argc, argv, "n:t:s:")) != -1) {
		if (opt == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (opt == 't')
			seconds = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 10) | 1;
		else
			return 2;
	}
	for (int i = optind; i < argc && !err; i++)
		err = add_path(&c, argv[i]);
	if (!err && !c.n) {
		fprintf(stderr, "fuzz: no inputs; usage: %s [-n ITERATIONS] [-t SECONDS] [-s SEED] FILE|FOLDER...\n",
			argv[0]);
		err = -1;
	}
	if (!err)
		err = fuzz(&c, n, seconds, seed);
	if (!err)
		unlink(getenv("FUZZ_CRASH") ? getenv("FUZZ_CRASH") : "fuzz-crash.bin");
	for (size_t i = 0; i < c.n; i++)
		free(c.v[i].data);
	free(c.v);
	return err ? 1 : 0;
}
