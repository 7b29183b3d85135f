/* AES-128-GCM by ipsec-mb against OpenSSL's own, through the same calls that libssl makes: whatever one seals the other opens, and nothing that was
 * changed is opened. Where the CPU lacks the instructions there is nothing to compare, and the tests say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "migrate/tls_gcm.h"
#include "tests/unit/support/skip.h"

#define MOST 40000
#define TAG 16

struct ciphers {
	OSSL_LIB_CTX *lib;
	OSSL_PROVIDER *own, *fast;
	EVP_CIPHER *of[2]; /* OpenSSL's, ours */
};

static int setup(void **state)
{
	struct ciphers *c = calloc(1, sizeof(*c));

	*state = c;
	if (!tls_gcm_useful())
		return 0;
	c->lib = OSSL_LIB_CTX_new();
	c->own = OSSL_PROVIDER_load(c->lib, "default");
	c->fast = tls_gcm_load(c->lib);
	assert_non_null(c->fast);
	/* As libssl does: the query that is content with any comes first, when no provider has been asked for this cipher yet. */
	c->of[1] = EVP_CIPHER_fetch(c->lib, "id-aes128-GCM", TLS_GCM_WANT);
	c->of[0] = EVP_CIPHER_fetch(c->lib, "id-aes128-GCM", "provider=default");
	assert_non_null(c->of[0]);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(c->of[1])), "ballast-gcm");
	return 0;
}

static int teardown(void **state)
{
	struct ciphers *c = *state;

	EVP_CIPHER_free(c->of[0]);
	EVP_CIPHER_free(c->of[1]);
	if (c->lib) {
		OSSL_PROVIDER_unload(c->fast);
		OSSL_PROVIDER_unload(c->own);
		OSSL_LIB_CTX_free(c->lib);
	}
	free(c);
	return 0;
}

static void need(const struct ciphers *c)
{
	if (!c->lib)
		skip_because(
			"our AES-GCM is not used here: it needs AVX-512 with VAES and an OpenSSL that has none of its own (tls_gcm.h)");
}

struct message {
	uint8_t key[16], iv[12], aad[64], text[MOST], tag[TAG];
	size_t n_aad, n;
};

/* In place, in one update or several, as @cuts says. 1: done (and for opening: sound). */
static int run(const EVP_CIPHER *cipher, bool seal, struct message *m, unsigned cuts)
{
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
	size_t done = 0;
	int len = 0, ok;

	ok = EVP_CipherInit_ex(x, cipher, NULL, NULL, NULL, seal) == 1 &&
		EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL) == 1 &&
		EVP_CipherInit_ex(x, NULL, NULL, m->key, NULL, -1) == 1 &&
		EVP_CipherInit_ex(x, NULL, NULL, NULL, m->iv, seal) == 1;
	if (ok && !seal)
		ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, TAG, m->tag) == 1;
	if (ok && m->n_aad)
		ok = EVP_CipherUpdate(x, NULL, &len, m->aad, (int)m->n_aad) == 1;
	for (unsigned i = 0; ok && i <= cuts; i++) {
		size_t end = i == cuts ? m->n : m->n * (i + 1) / (cuts + 1);

		ok = EVP_CipherUpdate(x, m->text + done, &len, m->text + done, (int)(end - done)) == 1 &&
			(size_t)len == end - done;
		done = end;
	}
	ok = ok && EVP_CipherFinal_ex(x, m->text + m->n, &len) == 1 && len == 0;
	if (ok && seal)
		ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, TAG, m->tag) == 1;
	EVP_CIPHER_CTX_free(x);
	return ok;
}

static void random_message(struct message *m, unsigned *seed)
{
	static const size_t sizes[] = {1, 15, 16, 17, 255, 256, 257, 4096, 16384, 16385};
	unsigned pick = (unsigned)rand_r(seed) % 20;

	m->n = pick < 10 ? sizes[pick] : (size_t)rand_r(seed) % (MOST - 16) + 1;
	m->n_aad = (size_t)rand_r(seed) % 3 ? 5 : (size_t)rand_r(seed) % sizeof(m->aad);
	for (size_t i = 0; i < sizeof(*m) - 2 * sizeof(size_t); i++)
		((uint8_t *)m)[i] = (uint8_t)(rand_r(seed) >> 8);
}

static void either_opens_what_the_other_seals(void **state)
{
	static struct message plain, a, b;
	struct ciphers *c = *state;
	unsigned seed = 11;

	need(c);
	for (int i = 0; i < 400; i++) {
		random_message(&plain, &seed);
		a = b = plain;
		assert_int_equal(run(c->of[0], true, &a, 0), 1);
		assert_int_equal(run(c->of[1], true, &b, (unsigned)i % 4), 1);
		assert_memory_equal(a.text, b.text, a.n);
		assert_memory_equal(a.tag, b.tag, TAG);
		assert_int_equal(run(c->of[1], false, &a, (unsigned)i % 3), 1);
		assert_int_equal(run(c->of[0], false, &b, 0), 1);
		assert_memory_equal(a.text, plain.text, plain.n);
		assert_memory_equal(b.text, plain.text, plain.n);
	}
}

static void what_was_changed_is_not_opened(void **state)
{
	static struct message sealed, m;
	struct ciphers *c = *state;
	unsigned seed = 12;

	need(c);
	for (int i = 0; i < 200; i++) {
		random_message(&sealed, &seed);
		sealed.n_aad = 5;
		assert_int_equal(run(c->of[1], true, &sealed, 0), 1);
		for (int what = 0; what < 5; what++) {
			uint8_t *at[] = {m.text + (size_t)rand_r(&seed) % sealed.n, m.tag + i % TAG, m.iv + i % 12,
				m.key + i % 16, m.aad + i % 5};

			m = sealed;
			*at[what] ^= (uint8_t)(1 << i % 8);
			assert_int_equal(run(c->of[1], false, &m, 0), 0);
		}
	}
}

/* No key, no nonce, no tag to compare with, a nonce used twice: refused. */
static void misuse_is_refused(void **state)
{
	struct ciphers *c = *state;
	uint8_t key[16] = {1}, iv[12] = {2}, buf[64] = {0};
	EVP_CIPHER_CTX *x;
	int len;

	need(c);
	x = EVP_CIPHER_CTX_new();
	assert_int_equal(EVP_CipherInit_ex(x, c->of[1], NULL, NULL, NULL, 1), 1);
	assert_int_not_equal(EVP_CipherUpdate(x, buf, &len, buf, 16), 1);
	assert_int_equal(EVP_CipherInit_ex(x, NULL, NULL, key, NULL, 1), 1);
	assert_int_not_equal(EVP_CipherUpdate(x, buf, &len, buf, 16), 1);
	assert_int_equal(EVP_CipherInit_ex(x, NULL, NULL, NULL, iv, 1), 1);
	assert_int_equal(EVP_CipherUpdate(x, buf, &len, buf, 16), 1);
	assert_int_equal(EVP_CipherFinal_ex(x, buf, &len), 1);
	assert_int_not_equal(EVP_CipherUpdate(x, buf, &len, buf, 16), 1);
	assert_int_equal(EVP_CipherInit_ex(x, NULL, NULL, NULL, iv, 0), 1);
	assert_int_equal(EVP_CipherUpdate(x, buf, &len, buf, 16), 1);
	assert_int_not_equal(EVP_CipherFinal_ex(x, buf, &len), 1);
	assert_int_not_equal(EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, 16, NULL), 1);
	EVP_CIPHER_CTX_free(x);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(either_opens_what_the_other_seals),
		T(what_was_changed_is_not_opened),
		T(misuse_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
