/* TLS contexts: our certificate and key, the trust folder, who the peer is, and why a handshake failed.
 *
 * Made by policyd (loop thread) and by the worker (main thread); read-only afterwards, so SSLs may be made from it on any thread.
 * Trust is OpenSSL's store with X509_V_FLAG_PARTIAL_CHAIN: whatever lies in the folder is an anchor, be it the peer's own certificate
 * or a CA's. One rule is ours: a certificate that carries a DNS name is a host's and never vouches for another one, else any trusted
 * host whose self-signed certificate says CA:TRUE (the openssl command's default) could pose as all others.
 * No session tickets: each connection is verified anew. Callbacks keep what they saw in a struct tls_diag beside the SSL. */
#include "migrate/tls_gcm.h"
#include "migrate/tls_int.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509v3.h>

#define TLS_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define TRUST_FILE_MAX (1 << 20)

struct tls_ctx {
	SSL_CTX *ssl;
	OSSL_LIB_CTX *lib;          /* NULL: the default one */
	OSSL_PROVIDER *fips, *base; /* with FIPS */
	OSSL_PROVIDER *gcm, *own;   /* without, where a faster AES-GCM is of use (tls_gcm.h): that, and "default" */
	char name[64];
	char trust[256];
};

static int diag_index;
static pthread_once_t diag_once = PTHREAD_ONCE_INIT;

static void diag_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

static void diag_register(void)
{
	diag_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, diag_free);
}

struct tls_diag *tls_diag_of(const SSL *ssl)
{
	pthread_once(&diag_once, diag_register);
	return SSL_get_ex_data(ssl, diag_index);
}

static const char *ssl_reason(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	return why ? why : "unknown error";
}

/* ---- names and dates ------------------------------------------------------------------------------------- */

static bool name_copy(const ASN1_STRING *s, char out[64])
{
	int len = ASN1_STRING_length(s);
	const unsigned char *p = ASN1_STRING_get0_data(s);

	if (len <= 0 || len >= 64 || memchr(p, 0, (size_t)len))
		return false;
	memcpy(out, p, (size_t)len);
	out[len] = 0;
	return true;
}

/* The first DNS name, into @out where not NULL. */
static bool cert_dns(X509 *cert, char out[64])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
		char unused[64];

		if (n->type == GEN_DNS)
			found = name_copy(n->d.dNSName, out ? out : unused);
	}
	GENERAL_NAMES_free(names);
	return found;
}

static bool cert_name(X509 *cert, char out[64])
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	if (cert_dns(cert, out))
		return true;
	return i >= 0 && name_copy(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)), out);
}

static void date_text(const ASN1_TIME *t, char out[64])
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm) || !strftime(out, 64, "%Y-%m-%d %H:%M UTC", &tm))
		snprintf(out, 64, "an unreadable date");
}

/* ---- what the callbacks see ------------------------------------------------------------------------------ */

static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	struct tls_diag *d = ssl ? tls_diag_of(ssl) : NULL;
	int why;

	if (ok && cert && X509_STORE_CTX_get_error_depth(store) > 0 && cert_dns(cert, NULL)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
		ok = 0;
	}
	if (ok || !d || !cert)
		return ok;
	why = X509_STORE_CTX_get_error(store);
	if (!cert_name(cert, d->cert_name))
		d->cert_name[0] = 0;
	if (why == X509_V_ERR_CERT_HAS_EXPIRED)
		date_text(X509_get0_notAfter(cert), d->cert_date);
	else if (why == X509_V_ERR_CERT_NOT_YET_VALID)
		date_text(X509_get0_notBefore(cert), d->cert_date);
	return 0;
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct tls_diag *d = tls_diag_of(ssl);

	if (!d)
		return;
	if ((where & SSL_CB_ALERT) && (where & SSL_CB_READ) && (value >> 8) == SSL3_AL_FATAL)
		d->alert_in = value & 0xff;
	if (where & SSL_CB_HANDSHAKE_DONE)
		d->handshake_done = true;
}

static void on_message(int out, int version, int type, const void *buf, size_t n, SSL *ssl, void *arg)
{
	struct tls_diag *d = tls_diag_of(ssl);
	const unsigned char *p = buf;

	(void)version, (void)arg;
	if (!out && d && !d->handshake_done && type == SSL3_RT_HEADER && n >= 5)
		d->not_tls |= p[0] < SSL3_RT_CHANGE_CIPHER_SPEC || p[0] > SSL3_RT_APPLICATION_DATA || p[1] != 3;
}

/* ---- the context ----------------------------------------------------------------------------------------- */

static int open_pem(const char *what, const char *path, FILE **out, struct err *e)
{
	FILE *f = path && *path ? fopen(path, "re") : NULL;

	if (!path || !*path)
		return err_set(e, EINVAL, "security.%s is not set", what);
	if (!f)
		return err_set(e, errno, "%s %s: %s", what, path, strerror(errno));
	*out = f;
	return 0;
}

static int check_own_dates(const X509 *cert, const char *path, struct err *e)
{
	char date[64];

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0) {
		date_text(X509_get0_notAfter(cert), date);
		return err_set(e, EKEYEXPIRED, "certificate %s expired on %s; make a new one and give it to the peers",
			path, date);
	}
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		date_text(X509_get0_notBefore(cert), date);
		return err_set(
			e, EKEYREJECTED, "certificate %s is not valid before %s; check this host's clock", path, date);
	}
	return 0;
}

static int load_certificate(struct tls_ctx *ctx, const char *path, struct err *e)
{
	X509 *cert = NULL;
	FILE *f = NULL;
	int ret = open_pem("certificate", path, &f, e);

	if (ret)
		return ret;
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	if (!cert)
		return err_set(e, EBADMSG, "certificate %s: no PEM certificate in it (%s)", path, ssl_reason());
	ret = check_own_dates(cert, path, e);
	if (!ret && !cert_name(cert, ctx->name))
		ret = err_set(
			e, EBADMSG, "certificate %s: no name in it (neither a DNS subjectAltName nor a CN)", path);
	/* The chain file form takes intermediates too. */
	if (!ret && SSL_CTX_use_certificate_chain_file(ctx->ssl, path) != 1)
		ret = err_set(e, EBADMSG, "certificate %s: %s", path, ssl_reason());
	X509_free(cert);
	return ret;
}

static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

static int load_key(struct tls_ctx *ctx, const char *path, const char *cert_path, struct err *e)
{
	EVP_PKEY *key = NULL;
	FILE *f = NULL;
	int ret = open_pem("key", path, &f, e);

	if (ret)
		return ret;
	key = PEM_read_PrivateKey_ex(f, NULL, no_password, NULL, ctx->lib, NULL);
	fclose(f);
	if (!key)
		return err_set(e, EBADMSG, "key %s: no PEM private key without a password in it", path);
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey(ctx->ssl, key) != 1 || SSL_CTX_check_private_key(ctx->ssl) != 1) {
		bool mismatch = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
			ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH;

		ret = mismatch ? err_set(e, EBADMSG, "key %s does not match certificate %s", path, cert_path)
			       : err_set(e, EBADMSG, "key %s: %s", path, ssl_reason());
	}
	EVP_PKEY_free(key);
	return ret;
}

/* Every certificate of one file. A file without any PEM in it (a README) is no matter; a broken one is. */
static int load_trust_file(struct tls_ctx *ctx, const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");
	X509_STORE *store = SSL_CTX_get_cert_store(ctx->ssl);
	unsigned long why;
	X509 *cert;
	int ret = 0;

	if (!f)
		return err_set(e, errno, "trust file %s: %s", path, strerror(errno));
	ERR_clear_error();
	while (!ret && (cert = PEM_read_X509(f, NULL, NULL, NULL))) {
		if (X509_STORE_add_cert(store, cert) != 1)
			ret = err_set(e, EBADMSG, "trust file %s: %s", path, ssl_reason());
		X509_free(cert);
	}
	why = ERR_peek_last_error();
	if (!ret && !(ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE))
		ret = err_set(
			e, EBADMSG, "trust file %s: a broken certificate (%s); mend or remove it", path, ssl_reason());
	ERR_clear_error();
	fclose(f);
	return ret;
}

static int load_trust(struct tls_ctx *ctx, const char *dir, struct err *e)
{
	DIR *d = dir && *dir ? opendir(dir) : NULL;
	struct dirent *ent;
	char path[1024];
	struct stat st;
	int ret = 0;

	if (!dir || !*dir)
		return err_set(e, EINVAL, "security.trust is not set");
	if (!d)
		return err_set(e, errno, "trust directory %s: %s", dir, strerror(errno));
	while (!ret && (ent = readdir(d))) {
		if (ent->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, ent->d_name);
		if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size > TRUST_FILE_MAX)
			continue;
		ret = load_trust_file(ctx, path, e);
	}
	closedir(d);
	snprintf(ctx->trust, sizeof(ctx->trust), "%s", dir);
	return ret;
}

/* A library context of its own that knows nothing but the FIPS provider (and "base", which reads files). */
static int load_fips(struct tls_ctx *ctx, struct err *e)
{
	char *conf = CONF_get1_default_config_file();

	ctx->lib = OSSL_LIB_CTX_new();
	if (ctx->lib && conf)
		OSSL_LIB_CTX_load_config(ctx->lib, conf);
	OPENSSL_free(conf);
	if (!ctx->lib)
		return err_set(e, ENOMEM, "out of memory");
	ctx->fips = OSSL_PROVIDER_load(ctx->lib, "fips");
	ctx->base = OSSL_PROVIDER_load(ctx->lib, "base");
	if (!ctx->fips || !ctx->base || !EVP_default_properties_enable_fips(ctx->lib, 1))
		return err_set(e, ENOTSUP,
			"security.fips is on, but OpenSSL's FIPS provider does not load (%s); install it and run "
			"'openssl fipsinstall', or set fips = false",
			ssl_reason());
	return 0;
}

/* A library context of its own with a faster AES-GCM beside OpenSSL's ciphers. Where that is not possible the default one serves; so it does on a
 * host whose OpenSSL is set to FIPS as a whole (openssl.cnf), which our own context would not know. */
static void load_gcm(struct tls_ctx *ctx)
{
	if (EVP_default_properties_is_fips_enabled(NULL) || !tls_gcm_useful() || !(ctx->lib = OSSL_LIB_CTX_new()))
		return;
	ctx->own = OSSL_PROVIDER_load(ctx->lib, "default");
	ctx->gcm = ctx->own ? tls_gcm_load(ctx->lib) : NULL;
	if (ctx->gcm)
		return;
	if (ctx->own)
		OSSL_PROVIDER_unload(ctx->own);
	OSSL_LIB_CTX_free(ctx->lib);
	ctx->own = NULL;
	ctx->lib = NULL;
}

static int setup(struct tls_ctx *ctx, const struct tls_conf *conf, struct err *e)
{
	int ret = conf->fips ? load_fips(ctx, e) : 0;

	if (ret)
		return ret;
	if (!conf->fips)
		load_gcm(ctx);
	ctx->ssl = SSL_CTX_new_ex(ctx->lib, ctx->gcm ? TLS_GCM_WANT : NULL, TLS_method());
	if (!ctx->ssl || !SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(ctx->ssl, TLS_SUITES) || !SSL_CTX_set_num_tickets(ctx->ssl, 0))
		return err_set(e, ENOTSUP, "OpenSSL cannot do TLS 1.3 here: %s", ssl_reason());
	SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx->ssl), X509_V_FLAG_PARTIAL_CHAIN);
	SSL_CTX_set_info_callback(ctx->ssl, on_info);
	SSL_CTX_set_msg_callback(ctx->ssl, on_message);
	ret = load_certificate(ctx, conf->certificate, e);
	if (!ret)
		ret = load_key(ctx, conf->key, conf->certificate, e);
	if (!ret)
		ret = load_trust(ctx, conf->trust, e);
	return ret;
}

int tls_ctx_new(const struct tls_conf *conf, struct tls_ctx **out, struct err *e)
{
	struct tls_ctx *ctx = calloc(1, sizeof(*ctx));
	int ret;

	if (!ctx)
		return err_set(e, ENOMEM, "out of memory");
	pthread_once(&diag_once, diag_register);
	ERR_clear_error();
	ret = setup(ctx, conf, e);
	ERR_clear_error();
	if (ret)
		tls_ctx_free(ctx);
	else
		*out = ctx;
	return ret;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
	if (!ctx)
		return;
	SSL_CTX_free(ctx->ssl);
	if (ctx->fips)
		OSSL_PROVIDER_unload(ctx->fips);
	if (ctx->base)
		OSSL_PROVIDER_unload(ctx->base);
	if (ctx->gcm)
		OSSL_PROVIDER_unload(ctx->gcm);
	if (ctx->own)
		OSSL_PROVIDER_unload(ctx->own);
	OSSL_LIB_CTX_free(ctx->lib);
	free(ctx);
}

const char *tls_ctx_name(const struct tls_ctx *ctx)
{
	return ctx->name;
}

struct ssl_st *tls_ssl_new(struct tls_ctx *ctx, bool server, const char *peer_name)
{
	struct tls_diag *d = calloc(1, sizeof(*d));
	SSL *ssl = d ? SSL_new(ctx->ssl) : NULL;

	if (!ssl || !SSL_set_ex_data(ssl, diag_index, d)) {
		SSL_free(ssl);
		free(d);
		return NULL;
	}
	d->alert_in = -1;
	snprintf(d->trust, sizeof(d->trust), "%s", ctx->trust);
	if (peer_name && *peer_name) {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_WILDCARDS);
		if (!SSL_set1_host(ssl, peer_name)) {
			SSL_free(ssl);
			return NULL;
		}
	}
	if (server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

int tls_peer_name(const struct ssl_st *ssl, char out[64])
{
	X509 *cert = SSL_get_verify_result(ssl) == X509_V_OK ? SSL_get1_peer_certificate(ssl) : NULL;
	bool found = cert && cert_name(cert, out);

	X509_free(cert);
	return found ? 0 : -ENOENT;
}

/* ---- explanations ---------------------------------------------------------------------------------------- */

static void explain_verify(long why, const struct tls_diag *d, const char *peer, struct err *e)
{
	switch (why) {
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		err_set(e, EACCES, "%s's certificate is not in our trust directory %s; put it (or its CA's) there",
			peer, d->trust);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		err_set(e, EKEYEXPIRED, "%s's certificate expired on %s; it needs a new one", peer, d->cert_date);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		err_set(e, EKEYREJECTED, "%s's certificate is not valid before %s; check both hosts' clocks", peer,
			d->cert_date);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
		err_set(e, EACCES,
			"the host that answered as %s has a certificate for \"%s\"; check the address and name of %s under "
			"cluster.peers",
			peer, d->cert_name, peer);
		break;
	default:
		err_set(e, EACCES, "%s's certificate is refused: %s", peer, X509_verify_cert_error_string(why));
	}
}

static void explain_alert(int alert, const char *peer, struct err *e)
{
	switch (alert) {
	case SSL3_AD_CERTIFICATE_UNKNOWN:
	case TLS1_AD_UNKNOWN_CA:
		err_set(e, EACCES, "%s does not trust us: our certificate is not in its trust directory", peer);
		break;
	case SSL3_AD_CERTIFICATE_EXPIRED:
		err_set(e, EKEYEXPIRED, "%s refuses our certificate as expired; check both hosts' clocks", peer);
		break;
	case SSL3_AD_BAD_CERTIFICATE:
		err_set(e, EACCES,
			"%s refuses our certificate: its name is not the one it expects of us, or its dates do not hold there",
			peer);
		break;
	case SSL3_AD_HANDSHAKE_FAILURE:
	case TLS1_AD_PROTOCOL_VERSION:
		err_set(e, EPROTO, "%s has no TLS 1.3 cipher in common with us (FIPS mode on one side only?)", peer);
		break;
	default:
		err_set(e, EPROTO, "%s broke the TLS connection off: %s", peer, SSL_alert_desc_string_long(alert));
	}
}

void tls_explain(const struct ssl_st *ssl, const char *peer, struct err *e)
{
	const struct tls_diag *d = tls_diag_of(ssl);
	unsigned long why = ERR_peek_last_error();
	long verify = SSL_get_verify_result(ssl);

	if (!peer || !*peer)
		peer = "the peer";
	if (!d)
		err_set(e, EPROTO, "TLS with %s failed", peer);
	else if (verify != X509_V_OK)
		explain_verify(verify, d, peer, e);
	else if (d->alert_in >= 0)
		explain_alert(d->alert_in, peer, e);
	else if (d->not_tls)
		err_set(e, EPROTO, "%s does not speak TLS on this port; is it policyd's?", peer);
	else if (why && ERR_GET_LIB(why) == ERR_LIB_SSL && ERR_GET_REASON(why) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
		err_set(e, EPROTO, "TLS with %s failed: %s", peer, ssl_reason());
	else
		err_set(e, EPIPE, "%s closed the connection%s", peer,
			d->handshake_done ? "" : " during the TLS handshake");
}
