/*
 * tier - frees what scans and lists hand out, puts flaws into words. See tier.h.
 */
#include "tier/tier.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>

void se__tier_page_done(struct tier_page *page)
{
    for (size_t i = 0; i < page->n; i++)
        se_item_release(page->items[i]);
    se__free(page->items);
    *page = (struct tier_page){0};
}

void se__tier_ids_done(struct tier_ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        se__free(ids->ids[i]);
    se__free(ids->ids);
    *ids = (struct tier_ids){0};
}

void se__tier_flaw_text(const struct tier_flaw *flaw, char *out, size_t cap)
{
    char expected[SE__HEX_SIZE], actual[SE__HEX_SIZE];
    switch (flaw->pack) {
    case TIER_PACK_NONE:
        se__hash_hex(flaw->expected, expected);
        se__hash_hex(flaw->actual, actual);
        snprintf(out, cap, "has content with hash %s instead of %s", actual, expected);
        break;
    case TIER_PACK_DAMAGED:
        snprintf(out, cap, "has compressed content that is damaged");
        break;
    case TIER_PACK_DICTIONARY:
        snprintf(out, cap, "needs dictionary %lld, which the database does not have whole",
                 (long long)flaw->number);
        break;
    case TIER_PACK_TOO_LONG:
        snprintf(out, cap, "would unpack to more than max_payload_bytes");
        break;
    case TIER_PACK_ENCODING:
        snprintf(out, cap,
                 "is encoded in a way (%lld) that this library does not know: use a newer one",
                 (long long)flaw->number);
        break;
    }
}
