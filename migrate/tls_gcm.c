/* The provider: see tls_gcm.h. One context per direction of a connection, used by one thread at a time (tls_conn.c's lock). What a record needs is
 * init with its nonce, its header as associated data, one update, final; several updates work too. */
#include "migrate/tls_gcm.h"

#if __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define KEY_BYTES 16
#define IV_BYTES 12
#define TAG_BYTES 16
#define AAD_MAX 64
#define OPENSSL_HAS_VAES 0x30200000UL

struct gcm {
	struct gcm_key_data key; /* first: aligned to 64 */
	struct gcm_context_data run;
	uint8_t iv[IV_BYTES], aad[AAD_MAX], tag[TAG_BYTES];
	size_t aad_bytes;
	bool encrypt, has_key, has_iv, has_tag, running;
};

static IMB_MGR *mgr;
static pthread_once_t mgr_once = PTHREAD_ONCE_INIT;

struct library {
	IMB_MGR *(*alloc)(uint64_t flags);
	void (*init)(IMB_MGR *m, IMB_ARCH *arch);
	int (*last_error)(IMB_MGR *m);
	void (*free)(IMB_MGR *m);
};

static bool library_open(struct library *l)
{
	void *so = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!so)
		return false;
	*(void **)&l->alloc = dlsym(so, "alloc_mb_mgr");
	*(void **)&l->init = dlsym(so, "init_mb_mgr_auto");
	*(void **)&l->last_error = dlsym(so, "imb_get_errno");
	*(void **)&l->free = dlsym(so, "free_mb_mgr");
	if (l->alloc && l->init && l->last_error && l->free)
		return true;
	dlclose(so);
	return false;
}

/* Once, and kept as long as the process lives. */
static void mgr_make(void)
{
	const uint64_t wide = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
	struct library l = {0};
	IMB_ARCH arch;
	IMB_MGR *m = library_open(&l) ? l.alloc(0) : NULL;

	if (!m)
		return;
	l.init(m, &arch);
	if (l.last_error(m) || (m->features & wide) != wide)
		l.free(m);
	else
		mgr = m;
}

bool tls_gcm_useful(void)
{
	pthread_once(&mgr_once, mgr_make);
	return mgr && OpenSSL_version_num() < OPENSSL_HAS_VAES;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static void *gcm_new(void *provctx)
{
	struct gcm *g = aligned_alloc(64, (sizeof(*g) + 63) / 64 * 64);

	(void)provctx;
	if (g)
		memset(g, 0, sizeof(*g));
	return g;
}

static void gcm_free(void *ctx)
{
	if (ctx)
		OPENSSL_cleanse(ctx, sizeof(struct gcm));
	free(ctx);
}

static void *gcm_dup(void *ctx)
{
	struct gcm *g = gcm_new(NULL);

	if (g)
		memcpy(g, ctx, sizeof(*g));
	return g;
}

/* ---- a message -------------------------------------------------------------------------------------------- */

static int gcm_set(void *ctx, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_IVLEN);
	struct gcm *g = ctx;
	size_t n;

	if (p && (!OSSL_PARAM_get_size_t(p, &n) || n != IV_BYTES))
		return 0;
	p = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_TAG);
	if (!p)
		return 1;
	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != TAG_BYTES || (p->data && g->encrypt))
		return 0;
	if (p->data) {
		memcpy(g->tag, p->data, TAG_BYTES);
		g->has_tag = true;
	}
	return 1;
}

static int gcm_init(struct gcm *g, bool encrypt, const uint8_t *key, size_t key_bytes, const uint8_t *iv,
	size_t iv_bytes, const OSSL_PARAM params[])
{
	if ((key && key_bytes != KEY_BYTES) || (iv && iv_bytes != IV_BYTES))
		return 0;
	g->encrypt = encrypt;
	g->running = g->has_tag = false;
	g->aad_bytes = 0;
	if (key) {
		IMB_AES128_GCM_PRE(mgr, key, &g->key);
		g->has_key = true;
	}
	if (iv)
		memcpy(g->iv, iv, IV_BYTES);
	g->has_iv |= iv != NULL;
	return params ? gcm_set(g, params) : 1;
}

static int gcm_encrypt_init(void *ctx, const unsigned char *key, size_t key_bytes, const unsigned char *iv,
	size_t iv_bytes, const OSSL_PARAM params[])
{
	return gcm_init(ctx, true, key, key_bytes, iv, iv_bytes, params);
}

static int gcm_decrypt_init(void *ctx, const unsigned char *key, size_t key_bytes, const unsigned char *iv,
	size_t iv_bytes, const OSSL_PARAM params[])
{
	return gcm_init(ctx, false, key, key_bytes, iv, iv_bytes, params);
}

/* The nonce is used up here: a second message needs another init. */
static bool begin(struct gcm *g)
{
	if (g->running)
		return true;
	if (!g->has_key || !g->has_iv)
		return false;
	IMB_AES128_GCM_INIT(mgr, &g->key, &g->run, g->iv, g->aad, g->aad_bytes);
	g->running = true;
	g->has_iv = false;
	return true;
}

static int gcm_update(
	void *ctx, unsigned char *out, size_t *out_bytes, size_t out_size, const unsigned char *in, size_t n)
{
	struct gcm *g = ctx;

	if (!out) {
		if (g->running || n > AAD_MAX - g->aad_bytes)
			return 0;
		memcpy(g->aad + g->aad_bytes, in, n);
		g->aad_bytes += n;
		*out_bytes = n;
		return 1;
	}
	if (out_size < n || !begin(g))
		return 0;
	if (g->encrypt)
		IMB_AES128_GCM_ENC_UPDATE(mgr, &g->key, &g->run, out, in, n);
	else
		IMB_AES128_GCM_DEC_UPDATE(mgr, &g->key, &g->run, out, in, n);
	*out_bytes = n;
	return 1;
}

static int gcm_final(void *ctx, unsigned char *out, size_t *out_bytes, size_t out_size)
{
	struct gcm *g = ctx;
	uint8_t tag[TAG_BYTES];

	(void)out, (void)out_size;
	if (!begin(g) || (!g->encrypt && !g->has_tag))
		return 0;
	if (g->encrypt)
		IMB_AES128_GCM_ENC_FINALIZE(mgr, &g->key, &g->run, tag, TAG_BYTES);
	else
		IMB_AES128_GCM_DEC_FINALIZE(mgr, &g->key, &g->run, tag, TAG_BYTES);
	g->running = false;
	*out_bytes = 0;
	if (!g->encrypt)
		return CRYPTO_memcmp(tag, g->tag, TAG_BYTES) == 0;
	memcpy(g->tag, tag, TAG_BYTES);
	g->has_tag = true;
	return 1;
}

/* ---- parameters ------------------------------------------------------------------------------------------- */

static int put(OSSL_PARAM params[], const char *key, size_t value)
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, key);

	return !p || OSSL_PARAM_set_size_t(p, value);
}

static int gcm_params(OSSL_PARAM params[])
{
	OSSL_PARAM *mode = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE);
	OSSL_PARAM *aead = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD);
	OSSL_PARAM *custom = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_CUSTOM_IV);

	return (!mode || OSSL_PARAM_set_uint(mode, EVP_CIPH_GCM_MODE)) && (!aead || OSSL_PARAM_set_int(aead, 1)) &&
		(!custom || OSSL_PARAM_set_int(custom, 1)) && put(params, OSSL_CIPHER_PARAM_KEYLEN, KEY_BYTES) &&
		put(params, OSSL_CIPHER_PARAM_IVLEN, IV_BYTES) && put(params, OSSL_CIPHER_PARAM_BLOCK_SIZE, 1);
}

static int gcm_get(void *ctx, OSSL_PARAM params[])
{
	OSSL_PARAM *tag = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD_TAG);
	const struct gcm *g = ctx;

	if (tag &&
		(!g->encrypt || !g->has_tag || tag->data_size != TAG_BYTES ||
			!OSSL_PARAM_set_octet_string(tag, g->tag, TAG_BYTES)))
		return 0;
	return put(params, OSSL_CIPHER_PARAM_KEYLEN, KEY_BYTES) && put(params, OSSL_CIPHER_PARAM_IVLEN, IV_BYTES) &&
		put(params, OSSL_CIPHER_PARAM_AEAD_TAGLEN, TAG_BYTES);
}

static const OSSL_PARAM *gcm_gettable(void *ctx, void *provctx)
{
	static const OSSL_PARAM list[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0), OSSL_PARAM_END};

	(void)ctx, (void)provctx;
	return list;
}

static const OSSL_PARAM *gcm_settable(void *ctx, void *provctx)
{
	static const OSSL_PARAM list[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0), OSSL_PARAM_END};

	(void)ctx, (void)provctx;
	return list;
}

/* ---- the provider ----------------------------------------------------------------------------------------- */

#define FN(id, fn)                                                                                                     \
	{                                                                                                              \
		id, (void (*)(void))(fn)                                                                               \
	}

static const OSSL_DISPATCH gcm_functions[] = {
	FN(OSSL_FUNC_CIPHER_NEWCTX, gcm_new),
	FN(OSSL_FUNC_CIPHER_FREECTX, gcm_free),
	FN(OSSL_FUNC_CIPHER_DUPCTX, gcm_dup),
	FN(OSSL_FUNC_CIPHER_ENCRYPT_INIT, gcm_encrypt_init),
	FN(OSSL_FUNC_CIPHER_DECRYPT_INIT, gcm_decrypt_init),
	FN(OSSL_FUNC_CIPHER_UPDATE, gcm_update),
	FN(OSSL_FUNC_CIPHER_FINAL, gcm_final),
	FN(OSSL_FUNC_CIPHER_GET_PARAMS, gcm_params),
	FN(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, gcm_get),
	FN(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, gcm_set),
	FN(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, gcm_gettable),
	FN(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, gcm_settable),
	{0, NULL},
};

static const OSSL_ALGORITHM ciphers[] = {
	{"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", "provider=ballast-gcm,ballast.fast=yes", gcm_functions,
		"AES-128-GCM by ipsec-mb"},
	{NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *on_query(void *provctx, int operation, int *no_cache)
{
	(void)provctx;
	*no_cache = 0;
	return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int on_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
	static const OSSL_DISPATCH functions[] = {FN(OSSL_FUNC_PROVIDER_QUERY_OPERATION, on_query), {0, NULL}};

	(void)in;
	*provctx = (void *)(uintptr_t)handle;
	*out = functions;
	return 1;
}

OSSL_PROVIDER *tls_gcm_load(OSSL_LIB_CTX *lib)
{
	if (!tls_gcm_useful() || !OSSL_PROVIDER_add_builtin(lib, "ballast-gcm", on_init))
		return NULL;
	return OSSL_PROVIDER_load(lib, "ballast-gcm");
}

#else

bool tls_gcm_useful(void)
{
	return false;
}

OSSL_PROVIDER *tls_gcm_load(OSSL_LIB_CTX *lib)
{
	(void)lib;
	return NULL;
}

#endif
