/* The entry point of every fuzzer here, in libFuzzer's form, so that clang's libFuzzer and afl++ can drive it too. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
