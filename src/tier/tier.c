/*
 * tier - frees what scans and lists hand out. See tier.h.
 */
#include "tier/tier.h"

#include "base/mem.h"

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
