/*
 * sights - see sights.h.
 *
 * Until se__sights_finish a sight's `id` is an offset into the page's buffer, not a pointer.
 */
#include "tier/sights.h"

#include "base/mem.h"

void se__sights_clear(struct tier_sights *page)
{
    page->n = 0;
    se__buf_clear(&page->bytes);
}

static bool grow(struct tier_sights *page)
{
    size_t cap = page->cap ? page->cap * 2 : 256;
    struct tier_sight *sights = se__realloc(page->sights, cap * sizeof *sights);
    if (!sights)
        return false;
    page->sights = sights;
    page->cap = cap;
    return true;
}

struct tier_sight *se__sights_add(struct tier_sights *page, const void *id, size_t id_len)
{
    if (page->n == page->cap && !grow(page))
        return NULL;
    size_t at = page->bytes.len;
    se__buf_append(&page->bytes, id, id_len);
    se__buf_append(&page->bytes, "", 1);
    if (page->bytes.failed)
        return NULL;
    struct tier_sight *sight = &page->sights[page->n++];
    *sight = (struct tier_sight){
        .id = (const char *)at, .id_len = id_len, .bucket = se__item_bucket(id, id_len)};
    return sight;
}

void se__sights_finish(struct tier_sights *page)
{
    for (size_t i = 0; i < page->n; i++)
        page->sights[i].id = page->bytes.data + (size_t)page->sights[i].id;
}

void se__sights_done(struct tier_sights *page)
{
    se__free(page->sights);
    se__buf_done(&page->bytes);
    *page = (struct tier_sights){0};
}

void se__tier_cursor_done(struct tier_cursor *cursor)
{
    se__buf_done(&cursor->after);
    *cursor = (struct tier_cursor){0};
}
