/*
 * json - is this text JSON? Decided by yajl, tightened to RFC 8259.
 *
 * What yajl 2.1 leaves open, and what is done about it here:
 *   - it takes vertical tab and form feed for whitespace: control bytes other than tab, line feed
 *     and carriage return cannot occur anywhere in JSON text, so they are refused beforehand
 *   - it overlooks a token that is cut off behind the value (`1"`): it is told to stop behind the
 *     value, and what is left is looked at here
 *   - its UTF-8 check lets overlong forms and surrogates through: ours (RFC 3629) runs first, its
 *     own is off
 *   - it never looks whether an allocation succeeded: the hook leaves by longjmp when there is no
 *     memory. yajl keeps nothing outside its handle, and all blocks are on a list of ours, so
 *     nothing is lost
 *   - it grows its stack of open brackets by 128 bytes at a time, which is quadratic where realloc
 *     copies: blocks of ours grow by doubling
 * It keeps its state in that stack and not on the machine's: deep nesting is bounded by the text's
 * length only.
 */
#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <yajl/yajl_parse.h>

struct block {
    struct block *next, **link; /* *link == this */
    size_t cap;
    size_t spare; /* the header keeps the alignment of malloc */
};
static_assert(sizeof(struct block) % _Alignof(max_align_t) == 0, "blocks stay aligned");

struct heap {
    struct block *blocks;
    jmp_buf nomem;
};

static void link_block(struct heap *heap, struct block *b)
{
    b->next = heap->blocks;
    b->link = &heap->blocks;
    if (b->next)
        b->next->link = &b->next;
    heap->blocks = b;
}

static void unlink_block(struct block *b)
{
    *b->link = b->next;
    if (b->next)
        b->next->link = b->link;
}

static void *take(void *ctx, size_t bytes)
{
    struct heap *heap = ctx;
    struct block *b = bytes < SIZE_MAX / 2 ? se__alloc(sizeof *b + bytes) : NULL;
    if (!b)
        longjmp(heap->nomem, 1);
    b->cap = bytes;
    link_block(heap, b);
    return b + 1;
}

static void give_back(void *ctx, void *memory)
{
    (void)ctx;
    if (!memory)
        return;
    struct block *b = (struct block *)memory - 1;
    unlink_block(b);
    se__free(b);
}

static void *resize(void *ctx, void *memory, size_t bytes)
{
    if (!memory)
        return take(ctx, bytes);
    struct block *b = (struct block *)memory - 1;
    if (bytes <= b->cap)
        return memory;
    size_t doubled = b->cap < SIZE_MAX / 4 ? b->cap * 2 : bytes;
    void *grown = take(ctx, bytes > doubled ? bytes : doubled);
    memcpy(grown, memory, b->cap);
    give_back(ctx, memory);
    return grown;
}

static void free_blocks(struct heap *heap)
{
    while (heap->blocks) {
        struct block *b = heap->blocks;
        unlink_block(b);
        se__free(b);
    }
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool only_space(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_space(text[i]))
            return false;
    return true;
}

static bool parse(struct heap *heap, const uint8_t *text, size_t len)
{
    yajl_alloc_funcs hooks = {.malloc = take, .realloc = resize, .free = give_back, .ctx = heap};
    if (setjmp(heap->nomem))
        return false;
    yajl_handle h = yajl_alloc(NULL, &hooks, NULL);
    yajl_config(h, yajl_dont_validate_strings, 1); /* done by us, strictly */
    yajl_config(h, yajl_allow_trailing_garbage, 1);
    bool valid = yajl_parse(h, text, len) == yajl_status_ok;
    size_t used = valid ? yajl_get_bytes_consumed(h) : 0;
    valid =
        valid && yajl_complete_parse(h) == yajl_status_ok && only_space(text + used, len - used);
    yajl_free(h);
    return valid;
}

/* Most binary content is turned away here, without looking at all of it. */
static bool may_begin(const uint8_t *text, size_t len)
{
    size_t at = 0;
    while (at < len && is_space(text[at]))
        at++;
    return at < len && strchr("{[\"-0123456789tfn", text[at]) && text[at] != '\0';
}

static bool has_forbidden_control(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 && !is_space(text[i]))
            return true;
    return false;
}

bool se__json_valid(const void *bytes, size_t len)
{
    const uint8_t *text = bytes;
    if (len == 0 || !may_begin(text, len) || has_forbidden_control(text, len) ||
        se__utf8_check(text, len) != len)
        return false;
    struct heap heap = {.blocks = NULL};
    bool valid = parse(&heap, text, len);
    free_blocks(&heap); /* empty unless memory ran out */
    return valid;
}
