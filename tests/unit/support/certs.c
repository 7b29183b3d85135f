/* Test certificates and connected TLS pairs; see certs.h. Any thread. */
#include "tests/unit/support/certs.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "certs: %s failed\n", what);
		abort();
	}
}

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(ext && X509_add_ext(cert, ext, -1), "extension");
	X509_EXTENSION_free(ext);
}

static FILE *open_file(const char *dir, const char *file, const char *suffix, const char *mode)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", dir, file, suffix);
	f = fopen(path, mode);
	must(f != NULL, path);
	return f;
}

static void issuer_load(const char *dir, const char *file, X509 **cert, EVP_PKEY **key)
{
	FILE *f = open_file(dir, file, ".crt", "r");

	*cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	f = open_file(dir, file, ".key", "r");
	*key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	must(*cert && *key, "issuer");
}

static void cert_write(const char *dir, const char *file, X509 *cert, EVP_PKEY *key)
{
	FILE *f = open_file(dir, file, ".crt", "w");

	must(PEM_write_X509(f, cert), "write certificate");
	fclose(f);
	f = open_file(dir, file, ".key", "w");
	must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), "write key");
	fclose(f);
}

void cert_make(const char *dir, const char *file, const struct cert_opts *o)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = key;
	X509 *cert = X509_new(), *issuer = cert;
	X509_NAME *name = X509_NAME_new();
	uint64_t serial = 0;
	char san[128];

	must(key && cert && name && RAND_bytes((unsigned char *)&serial, 7), "new");
	if (o->issuer)
		issuer_load(dir, o->issuer, &issuer, &issuer_key);
	if (o->cn)
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)o->cn, -1, -1, 0);
	else
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"ballast test", -1, -1, 0);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), o->from_s || o->to_s ? o->from_s : -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), o->from_s || o->to_s ? o->to_s : 86400);
	X509_set_subject_name(cert, name);
	X509_set_issuer_name(cert, o->issuer ? X509_get_subject_name(issuer) : name);
	X509_set_pubkey(cert, key);
	add_ext(cert, issuer, NID_basic_constraints, o->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (o->dns) {
		snprintf(san, sizeof(san), "DNS:%s", o->dns);
		add_ext(cert, issuer, NID_subject_alt_name, san);
	}
	must(X509_sign(cert, issuer_key, EVP_sha256()) > 0, "sign");
	cert_write(dir, file, cert, key);
	if (o->issuer) {
		X509_free(issuer);
		EVP_PKEY_free(issuer_key);
	}
	X509_NAME_free(name);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void cert_copy(const char *dir, const char *file, const char *trust)
{
	char from[512], to[512];

	snprintf(from, sizeof(from), "%s/%s.crt", dir, file);
	snprintf(to, sizeof(to), "%s/%s/%s.pem", dir, trust, file);
	must(link(from, to) == 0, "link into trust folder");
}

void cert_pair(char dir_out[64], const char *a, const char *b)
{
	char path[128];

	strcpy(dir_out, "/tmp/ballast-certs-XXXXXX");
	must(mkdtemp(dir_out) != NULL, "mkdtemp");
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/trust-%s", dir_out, i ? b : a);
		must(mkdir(path, 0700) == 0, "mkdir");
		cert_make(dir_out, i ? b : a, &(struct cert_opts){.cn = i ? b : a, .dns = i ? b : a});
	}
	snprintf(path, sizeof(path), "trust-%s", a);
	cert_copy(dir_out, b, path);
	snprintf(path, sizeof(path), "trust-%s", b);
	cert_copy(dir_out, a, path);
}

struct tls_ctx *cert_ctx(const char *dir, const char *name)
{
	char crt[128], key[128], trust[128];
	struct tls_conf conf = {.certificate = crt, .key = key, .trust = trust};
	struct tls_ctx *ctx = NULL;
	struct err e = {0};

	snprintf(crt, sizeof(crt), "%s/%s.crt", dir, name);
	snprintf(key, sizeof(key), "%s/%s.key", dir, name);
	snprintf(trust, sizeof(trust), "%s/trust-%s", dir, name);
	must(tls_ctx_new(&conf, &ctx, &e) == 0, e.msg);
	return ctx;
}

struct accept_arg {
	struct tls_ctx *ctx;
	int fd;
	struct tls_conn *conn;
};

static void *accept_thread(void *arg)
{
	struct accept_arg *a = arg;
	struct err e = {0};

	must(tls_accept(a->ctx, a->fd, NULL, 20000, &a->conn, &e) == 0, e.msg);
	return NULL;
}

void tls_pair(
	struct tls_ctx *client, struct tls_ctx *server, struct tls_conn **client_out, struct tls_conn **server_out)
{
	struct accept_arg a = {.ctx = server};
	struct err e = {0};
	pthread_t t;
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
	a.fd = fds[1];
	must(pthread_create(&t, NULL, accept_thread, &a) == 0, "thread");
	must(tls_connect(client, fds[0], NULL, 20000, client_out, &e) == 0, e.msg);
	pthread_join(t, NULL);
	*server_out = a.conn;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
