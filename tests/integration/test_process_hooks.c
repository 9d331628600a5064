/*
 * Hooks of the process: whose memory the library uses, and what is told of its threads. Each test is a process of its own, since both can be set
 * once in the life of one: this needs Criterion, and is not built for ThreadSanitizer.
 */
#include "base/os.h"
#include "integration/bed.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape embedded = {"sqlite+wal", SQLITE, false, true};

/* ---- an allocator whose blocks are none of malloc's ---- */

#define MAGIC 0x5eedULL
struct block { /* stands before what is handed out; 64 bytes, so that this is aligned to as much */
    uint64_t magic;
    void *memory;
    size_t bytes;
    uint64_t rest[5];
};
static struct {
    atomic_size_t blocks, bytes;
    atomic_llong left; /* allocations until there are none any more; negative: no end */
    size_t shift;      /* how much blocks are out of alignment */
} heap = {.left = -1};

static bool exhausted(void)
{
    if (atomic_load(&heap.left) < 0)
        return false;
    return atomic_fetch_sub(&heap.left, 1) <= 0;
}

static void *take(size_t alignment, size_t bytes)
{
    if (exhausted()) {
        atomic_store(&heap.left, 0);
        return NULL;
    }
    size_t before = alignment > sizeof(struct block) ? alignment : sizeof(struct block);
    char *memory = aligned_alloc(before, (before + bytes + 2 * before - 1) / before * before);
    if (!memory)
        return NULL;
    char *out = memory + before + heap.shift;
    struct block b = {.magic = MAGIC, .memory = memory, .bytes = bytes};
    memcpy(out - sizeof b, &b, sizeof b);
    atomic_fetch_add(&heap.blocks, 1);
    atomic_fetch_add(&heap.bytes, bytes);
    return out;
}

static struct block block_of(const void *memory)
{
    struct block b;
    memcpy(&b, (const char *)memory - sizeof b, sizeof b);
    if (b.magic != MAGIC) {
        (void)fprintf(stderr, "%p is none of this allocator's\n", memory);
        abort();
    }
    return b;
}

static void check_arg(const void *arg)
{
    if (arg != &heap)
        abort();
}

static void *hook_malloc(void *arg, size_t bytes)
{
    check_arg(arg);
    return take(16, bytes);
}

static void *hook_calloc(void *arg, size_t count, size_t bytes)
{
    void *memory = hook_malloc(arg, count * bytes);
    return memory ? memset(memory, 0, count * bytes) : NULL;
}

static void hook_free(void *arg, void *memory)
{
    check_arg(arg);
    struct block b = block_of(memory);
    memset((char *)memory - sizeof b, 0, sizeof b);
    atomic_fetch_sub(&heap.blocks, 1);
    atomic_fetch_sub(&heap.bytes, b.bytes);
    free(b.memory);
}

static void *hook_realloc(void *arg, void *old, size_t bytes)
{
    void *memory = hook_malloc(arg, bytes);
    if (memory && old) {
        size_t n = block_of(old).bytes;
        memcpy(memory, old, n < bytes ? n : bytes);
        hook_free(arg, old);
    }
    return memory;
}

static void *hook_aligned(void *arg, size_t alignment, size_t bytes)
{
    check_arg(arg);
    return take(alignment, bytes);
}

static size_t hook_size(void *arg, const void *memory)
{
    check_arg(arg);
    return block_of(memory).bytes;
}

static se_allocator allocator(void)
{
    return (se_allocator){.struct_size = sizeof(se_allocator),
                          .arg = &heap,
                          .malloc_fn = hook_malloc,
                          .calloc_fn = hook_calloc,
                          .realloc_fn = hook_realloc,
                          .aligned_fn = hook_aligned,
                          .free_fn = hook_free,
                          .size_fn = hook_size};
}

static void set_allocator(void)
{
    se_allocator a = allocator();
    cr_assert_eq(se_set_allocator(&a), SE_OK, "%s", se_errmsg());
}

/* ---- memory ---- */

static bool count(void *arg, se_item *item)
{
    (void)item;
    ++*(unsigned *)arg;
    return true;
}

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    (void)arg;
    (void)id;
    *content = strdup("made"); /* malloc's: the library frees it with free() */
    *len = 4;
    return *content ? SE_OK : SE_ERR_NOMEM;
}

static void count_told(void *arg, const se_delivery *d)
{
    (void)d;
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void use_everything(se_engine *e)
{
    char id[32], *text;
    size_t len;
    unsigned seen = 0;
    uint16_t port = 0;
    static atomic_uint told;
    se_submit_options o;
    se_submit_options_init(&o);
    o.delivery = count_told;
    o.delivery_arg = &told;
    o.state = "red";
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "id:%04u", i);
        cr_assert_geq(se_submit(e, id, "some content", 12, i % 3 ? NULL : &o), 0, "%s",
                      se_errmsg());
        if (i % 7 == 0)
            cr_assert_geq(se_delete(e, id, NULL), 0);
    }
    cr_assert_eq(se_http_start(e, NULL, &port), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_flush(e, 20000), SE_OK);
    cr_assert_eq(se_invalidate_prefix(e, "id:"), SE_OK);
    cr_assert_eq(se_scan_prefix(e, "id:", 0, count, &seen), SE_OK);
    cr_assert_gt(seen, 2000);
    cr_assert_eq(se_verify(e, NULL, &(se_verify_report){0}), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_metrics_text(e, &text, &len), SE_OK);
    cr_assert(text[len] == '\0' && strlen(text) == len);
    free(text); /* malloc's, whatever the hook */
    se_item *item;
    cr_assert_eq(se_get_or_insert_with(e, "made", make, NULL, NULL, &item), SE_OK);
    se_item_release(item);
    se_http_stop(e);
}

Test(allocator, all_memory_is_the_callers_and_all_of_it_comes_back)
{
    struct bed b;
    set_allocator();
    bed_make(&b, &embedded, NULL, NULL);
    cr_assert_eq(se_config_set(&b.config, "name", "hooked"), SE_OK);
    se_engine *e = bed_open(&b);
    size_t at_first = atomic_load(&heap.bytes);
    use_everything(e);
    cr_assert_gt(atomic_load(&heap.bytes), at_first);
    cr_assert_gt(bed_metric(e, "sync_engine_filter_bytes", ""), 0);
    se_item *held;
    cr_assert_eq(se_get(e, "id:0001", &held), SE_OK);
    char *text;
    size_t len;
    cr_assert_eq(se_config_text(&b.config, &text, &len), SE_OK);
    free(text);
    bed_close(&b, e);
    cr_assert_eq(memcmp(se_item_content(held), "some content", 12), 0);
    se_item_release(held);
    bed_remove(&b);
    se_config_clear(&b.config);
    cr_assert_eq(atomic_load(&heap.blocks), 0, "%zu blocks with %zu bytes are left",
                 atomic_load(&heap.blocks), atomic_load(&heap.bytes));
}

Test(allocator, one_that_has_nothing_left_is_survived)
{
    struct bed b;
    set_allocator();
    bed_make(&b, &embedded, NULL, NULL);
    se_result r = SE_ERR_NOMEM;
    for (long long n = 0; r != SE_OK; n += 1 + n / 8) {
        se_engine *e;
        atomic_store(&heap.left, n);
        r = se_open(&b.config, &e);
        cr_assert(r == SE_OK || !e, "%d", r);
        bool dry = atomic_load(&heap.left) == 0;
        atomic_store(&heap.left, 0);
        if (r == SE_OK)
            cr_assert(se_submit(e, "a", "x", 1, NULL) == SE_ERR_NOMEM || !dry);
        atomic_store(&heap.left, -1);
        if (r == SE_OK)
            cr_assert_eq(se_close(e, 20000), SE_OK);
        r = r == SE_OK && dry ? SE_ERR_NOMEM : r;
    }
    bed_remove(&b);
    se_config_clear(&b.config);
    cr_assert_eq(atomic_load(&heap.blocks), 0);
}

Test(allocator, blocks_that_are_not_aligned_are_no_memory)
{
    struct bed b;
    se_engine *e;
    heap.shift = 8;
    bed_make(&b, &embedded, NULL, NULL);
    set_allocator();
    cr_assert_eq(se_open(&b.config, &e), SE_ERR_NOMEM);
    bed_remove(&b);
}

Test(allocator, it_is_set_once_and_first)
{
    se_allocator a = allocator(), incomplete = a, sizeless = a;
    incomplete.aligned_fn = NULL;
    sizeless.struct_size = 0;
    cr_assert_eq(se_set_allocator(NULL), SE_ERR_INVALID);
    cr_assert_eq(se_set_allocator(&incomplete), SE_ERR_INVALID);
    cr_assert_eq(se_set_allocator(&sizeless), SE_ERR_INVALID);
    cr_assert_eq(se_set_allocator(&a), SE_OK);
    cr_assert_eq(se_set_allocator(&a), SE_ERR_STATE);
}

Test(allocator, late_is_refused_and_changes_nothing)
{
    se_allocator a = allocator();
    se_config config;
    se_config_init(&config); /* allocates nothing yet */
    cr_assert_eq(se_config_set(&config, "name", "x"), SE_OK);
    cr_assert_eq(se_set_allocator(&a), SE_ERR_STATE);
    se_config_clear(&config);
    cr_assert_eq(atomic_load(&heap.blocks), 0);
}

/* ---- threads ---- */

#define NAMES_MAX 64
static struct {
    atomic_uint n;
    char names[NAMES_MAX][16];
    const char *refused; /* the name that is not taken; NULL: none */
} started;
static _Thread_local bool introduced;

static bool introduce(void *arg, const char *name)
{
    char shown[16] = "";
    pthread_getname_np(pthread_self(), shown, sizeof shown);
    if (arg != &started || strcmp(shown, name) != 0 || introduced)
        abort();
    unsigned i = atomic_fetch_add(&started.n, 1);
    if (i < NAMES_MAX)
        snprintf(started.names[i], sizeof started.names[i], "%s", name);
    introduced = true;
    return !started.refused || strcmp(started.refused, name) != 0;
}

static bool was_started(const char *name)
{
    for (unsigned i = 0; i < atomic_load(&started.n) && i < NAMES_MAX; i++) {
        if (strcmp(started.names[i], name) == 0)
            return true;
    }
    return false;
}

struct seen {
    atomic_uint n;
    bool introduced;
};

static void look(void *arg, const se_delivery *d)
{
    struct seen *seen = arg;
    (void)d;
    seen->introduced = introduced;
    atomic_fetch_add(&seen->n, 1);
}

static bool has_seen(void *arg)
{
    return atomic_load(&((struct seen *)arg)->n) > 0;
}

Test(threads, each_is_introduced_before_it_works)
{
    struct bed b;
    struct seen seen = {0};
    uint16_t port = 0;
    se_submit_options o;
    cr_assert_eq(se_set_thread_hook(NULL, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_set_thread_hook(introduce, &started), SE_OK);
    cr_assert_eq(se_set_thread_hook(introduce, &started), SE_ERR_STATE);
    bed_make(&b, &embedded, NULL, NULL);
    se_engine *e = bed_open(&b);
    cr_assert(was_started("se-upkeep") && was_started("se-home") && was_started("se-flush-0") &&
              was_started("se-filter"));
    cr_assert(!was_started("se-delivery") && !was_started("se-http"));
    se_submit_options_init(&o);
    o.delivery = look;
    o.delivery_arg = &seen;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_OK);
    cr_assert_eq(se_http_start(e, NULL, &port), SE_OK);
    bed_wait(has_seen, &seen, "told");
    cr_assert(seen.introduced && was_started("se-delivery") && was_started("se-http"));
    cr_assert(!introduced); /* not in a thread of the caller's */
    bed_close(&b, e);
    bed_remove(&b);
}

Test(threads, late_is_refused)
{
    struct bed b;
    bed_make(&b, &embedded, NULL, NULL);
    se_engine *e = bed_open(&b);
    cr_assert_eq(se_set_thread_hook(introduce, &started), SE_ERR_STATE);
    bed_close(&b, e);
    bed_remove(&b);
    cr_assert_eq(atomic_load(&started.n), 0);
}

/* Any one that is refused fails what wanted it, and nothing else remains. */
Test(threads, a_refused_one_fails_what_wanted_it)
{
    struct bed b;
    se_engine *e;
    static char names[NAMES_MAX][16];
    cr_assert_eq(se_set_thread_hook(introduce, &started), SE_OK);
    bed_make(&b, &embedded, NULL, NULL);
    e = bed_open(&b);
    unsigned n = atomic_load(&started.n);
    bed_close(&b, e);
    cr_assert(n >= 4 && n <= NAMES_MAX);
    memcpy(names, started.names, sizeof names);
    for (unsigned i = 0; i < n; i++) {
        started.refused = names[i];
        se_result r = se_open(&b.config, &e);
        cr_assert(r == SE_ERR_STATE && !e && strstr(se_errmsg(), names[i]), "%s: %d %s", names[i],
                  r, se_errmsg());
    }
    started.refused = NULL;
    e = bed_open(&b);
    bed_put(e, "a", "x");
    bed_expect(e, "a", "x");
    bed_close(&b, e);
    bed_remove(&b);
}

Test(threads, a_refused_delivery_or_endpoint_leaves_the_engine_whole)
{
    struct bed b;
    struct seen seen = {0};
    uint16_t port = 0;
    se_submit_options o;
    cr_assert_eq(se_set_thread_hook(introduce, &started), SE_OK);
    bed_make(&b, &embedded, NULL, NULL);
    se_engine *e = bed_open(&b);
    se_submit_options_init(&o);
    o.delivery = look;
    o.delivery_arg = &seen;
    started.refused = "se-delivery";
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_STATE);
    bed_expect(e, "a", NULL);
    started.refused = "se-http";
    cr_assert_eq(se_http_start(e, NULL, &port), SE_ERR_STATE);
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_OK);
    bed_wait(has_seen, &seen, "told");
    started.refused = NULL;
    cr_assert_eq(se_http_start(e, NULL, &port), SE_OK, "%s", se_errmsg());
    bed_close(&b, e);
    bed_remove(&b);
}
