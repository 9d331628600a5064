/*
 * sights - filling a page of a survey.
 *
 * Ids are copied into the page's one buffer, which may move while it grows; so a sight holds an
 * offset until se__sights_finish makes pointers of them.
 *
 * Threads: caller-serialised.  Memory: a page owns its arrays; se__sights_done frees them.
 */
#ifndef SE_TIER_SIGHTS_H
#define SE_TIER_SIGHTS_H

#include "tier/tier.h"

/* Empties the page and keeps its memory. */
void se__sights_clear(struct tier_sights *page);
/* A zeroed sight for this id, with `bucket` set; valid until the next add. NULL without memory. */
SE_NODISCARD struct tier_sight *se__sights_add(struct tier_sights *page, const void *id,
                                               size_t id_len);
/* Makes every id a pointer; to be called once, after the last add. */
void se__sights_finish(struct tier_sights *page);
void se__sights_done(struct tier_sights *page);

#endif
