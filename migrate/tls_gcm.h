/* AES-128-GCM with the widest instructions of the CPU, for TLS: OpenSSL before 3.2 does not use VAES on 512-bit registers, which encrypt four
 * times as fast. The cipher is Intel's ipsec-mb (libipsec-mb1), opened when it is there; here it becomes an OpenSSL provider, so that libssl uses it as any
 * other. Only for contexts without FIPS. Without the library, or on another CPU, everything is as before. */
#ifndef MIGRATE_TLS_GCM_H
#define MIGRATE_TLS_GCM_H

#include <stdbool.h>

#include <openssl/provider.h>

#define TLS_GCM_WANT "?ballast.fast=yes" /* property query that prefers this one and is content with any other */

/* Is the library there, has this CPU the instructions, and has this OpenSSL a need for it? Any thread. */
bool tls_gcm_useful(void);
/* Into a library context of one's own, beside "default" (load that too). NULL: it cannot be. Unload before the context is freed. */
OSSL_PROVIDER *tls_gcm_load(OSSL_LIB_CTX *lib);

#endif
