/* What clang-tidy reads before each file but domain/err.c: its analyzer looks at one file at a time and would take err_set for a function
 * that may return 0, and so every "if (rc) return rc" for a path on which nothing was set. */
#include "domain/err.h"

#define err_set(...) (err_set(__VA_ARGS__) ? -1 : -1)
#define err_wrap(...) (err_wrap(__VA_ARGS__) ? -1 : -1)
