/* TLS 1.3 with mutual certificates: the one file that uses OpenSSL, for the worker's blocking channels and for policyd's event-driven
 * peers alike. Trust as in Oracle VM Server for SPARC: a host is trusted when its certificate lies in the trust folder (any file
 * name, PEM; a CA's certificate there works too), its dates hold, and the name in it (SAN DNS, else CN) is the name we expect. */
#ifndef MIGRATE_TLS_H
#define MIGRATE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "domain/err.h"

struct tls_ctx;  /* certificate, key, trust folder; read-only after creation, shared by threads */
struct tls_conn; /* one connection; one thread at a time for each direction */
struct ssl_st;
struct ssl_ctx_st;

struct tls_conf {
	const char *certificate, *key, *trust; /* paths; borrowed */
	bool fips;
};

/* Reads and checks: each failure one sentence naming the file and what is wrong (missing, expired, not a key, does not match). */
int tls_ctx_new(const struct tls_conf *conf, struct tls_ctx **out, struct err *e);
void tls_ctx_free(struct tls_ctx *ctx);

/* Our certificate's name (SAN DNS or CN). */
const char *tls_ctx_name(const struct tls_ctx *ctx);

/* For bufferevents (policyd/cluster): a new SSL set up for the given side, expecting @peer_name (NULL = any trusted host; ask
 * tls_peer_name after the handshake). */
struct ssl_st *tls_ssl_new(struct tls_ctx *ctx, bool server, const char *peer_name);
/* Name in the peer's verified certificate. -ENOENT none. */
int tls_peer_name(const struct ssl_st *ssl, char out[64]);
/* Why the handshake failed, in operators' words: "beta's certificate is not in our trust directory". Works after libevent has emptied
 * OpenSSL's error queue too. In TLS 1.3 a client learns that the server refused it only when it first reads: call this then as well. */
void tls_explain(const struct ssl_st *ssl, const char *peer, struct err *e);

/* Blocking channels for the worker: handshake over the connected socket @fd (owned by the connection on success; made non-blocking).
 * @timeout_ms bounds the whole handshake. Success means that both sides accepted each other (docs/wire.md: the welcome octet). */
int tls_connect(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e);
int tls_accept(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e);
/* All of it, or an error. -EPIPE closed by the peer; -ETIMEDOUT nothing moved for the stall limit; -ECANCELED tls_abort. */
int tls_write(struct tls_conn *c, const void *buf, size_t n, struct err *e);
int tls_read(struct tls_conn *c, void *buf, size_t n, struct err *e);
void tls_set_stall_ms(struct tls_conn *c, unsigned ms); /* default 10 s */
void tls_abort(struct tls_conn *c);                     /* any thread: wakes a blocked read or write */
uint64_t tls_bytes_out(const struct tls_conn *c);
int tls_fd(const struct tls_conn *c);
const char *tls_conn_peer(const struct tls_conn *c); /* name in the peer's certificate */
void tls_conn_free(struct tls_conn *c);

#endif
