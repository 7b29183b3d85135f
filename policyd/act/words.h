/* Plans and decisions in words, as plan and explain show them (the layout of docs' examples). Pure; new JSON texts, NULL without memory. */
#ifndef POLICYD_ACT_WORDS_H
#define POLICYD_ACT_WORDS_H

#include "policyd/decide/plan.h"

/* @domain: only what is about it; NULL = all. "nothing to do" where the plan says nothing. */
json_t *plan_words(const struct snapshot *s, const struct plan *pl, const char *domain);
/* The same for a stored decision's row {t, plan, ...}. */
json_t *plan_words_stored(const json_t *row, const char *domain);

#endif
