/* Certificates for tests: EC keys, made in milliseconds, written as DIR/NAME.crt and DIR/NAME.key. */
#ifndef TESTS_UNIT_SUPPORT_CERTS_H
#define TESTS_UNIT_SUPPORT_CERTS_H

#include <stdbool.h>

#include "migrate/tls.h"

struct cert_opts {
	const char *cn;     /* subject CN, NULL none */
	const char *dns;    /* SAN DNS, NULL none */
	const char *issuer; /* file name (without .crt) of the issuer in the same folder; NULL self-signed */
	bool ca;            /* basicConstraints CA:TRUE */
	long from_s, to_s;  /* validity from now; both 0: -1 hour .. +1 day */
};

/* Aborts the test on failure. */
void cert_make(const char *dir, const char *file, const struct cert_opts *o);
/* A temporary folder with trust-@a and trust-@b, certificates a (named @a) and b (named @b), each in the other's trust folder. */
void cert_pair(char dir_out[64], const char *a, const char *b);
/* Context of @name in a cert_pair folder. */
struct tls_ctx *cert_ctx(const char *dir, const char *name);
void cert_copy(const char *dir, const char *file, const char *trust);
/* A connected pair of TLS channels over a socketpair or loopback TCP: both handshakes are run. */
void tls_pair(
	struct tls_ctx *client, struct tls_ctx *server, struct tls_conn **client_out, struct tls_conn **server_out);
void remove_tree(const char *dir);

#endif
