/* What tls.c (trust, names, explanations) and tls_conn.c (blocking channels) share. Nobody else includes this. */
#ifndef MIGRATE_TLS_INT_H
#define MIGRATE_TLS_INT_H

#include <openssl/ssl.h>

#include "migrate/tls.h"

/* What a handshake told us, kept beside the SSL so that it can be explained after the error queue is gone. */
struct tls_diag {
	char trust[256];    /* our trust folder, for messages */
	char cert_name[64]; /* name in the certificate that was refused */
	char cert_date[64]; /* the date that it broke */
	int alert_in;       /* fatal alert the peer sent, -1 none */
	bool not_tls;       /* its first octets were no TLS record */
	bool handshake_done;
};

struct tls_diag *tls_diag_of(const SSL *ssl);

#endif
