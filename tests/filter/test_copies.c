/*
 * Copies of the filter's parts, as a snapshot holds them, and what is made of them again.
 */
#include "base/buf.h"
#include "filter_fixture.h"
#include "support/test.h"

static void copy_part(const struct filter *f, unsigned part, struct buf *out)
{
    se__buf_init(out);
    cr_assert_eq(se__filter_copy_part(f, part, out), SE_OK);
}

static se_result restore(struct filter *f, unsigned part, const struct buf *b)
{
    return se__filter_restore_part(f, part, (const uint8_t *)b->data, b->len);
}

static struct filter *copy_of(const struct filter *f)
{
    struct filter *copy = open_trusted();
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        struct buf b;
        copy_part(f, part, &b);
        cr_assert_eq(restore(copy, part, &b), SE_OK);
        se__buf_done(&b);
    }
    return copy;
}

Test(filter_copies, a_copy_has_what_the_original_has)
{
    struct filter *f = open_trusted(), *copy;
    add_ids(f, 0, 30000);
    copy = copy_of(f);
    cr_assert_eq(count_had(copy, 0, 30000), 30000u);
    cr_assert_eq(count_had(copy, ABSENT, ABSENT + 500000), count_had(f, ABSENT, ABSENT + 500000));
    cr_assert_eq(stats(copy).ids, stats(f).ids);
    add_ids(copy, 30000, 60000);
    cr_assert_eq(count_had(copy, 0, 60000), 60000u);
    se__filter_close(copy);
    se__filter_close(f);
}

Test(filter_copies, an_empty_part_is_no_bytes)
{
    struct filter *f = open_trusted();
    struct buf b;
    copy_part(f, 0, &b);
    cr_assert_eq(b.len, 0u);
    cr_assert_eq(restore(f, 0, &b), SE_OK);
    cr_assert_eq(count_had(f, 0, 1000), 0u);
    se__buf_done(&b);
    se__filter_close(f);
}

/* With the second table; and with neither having room, when nothing may be excluded. */
Test(filter_copies, a_copy_of_an_overfull_part_is_as_good)
{
    struct filter *f = open_trusted();
    uint64_t n = 0;
    bool second = false;
    for (;;) {
        struct filter_part_stats s = part_stats(f, 9);
        if (s.full || (!second && s.slots > 1250)) {
            struct filter *copy = copy_of(f);
            for (uint64_t i = 1; i <= n; i++)
                cr_assert(part_of(i) != 9 || has_id(copy, i));
            cr_assert_eq(part_stats(copy, 9).full, s.full);
            cr_assert_eq(part_stats(copy, 9).used, s.used);
            cr_assert_eq(part_stats(copy, 9).slots, s.slots);
            cr_assert(part_stats(copy, 9).due);
            se__filter_close(copy);
            second = true;
            if (s.full)
                break;
        }
        n = next_of(9, n + 1);
        add_id(f, n);
    }
    se__filter_close(f);
}

Test(filter_copies, bytes_that_are_no_part_are_refused)
{
    struct filter *f = open_trusted(), *other = open_trusted();
    struct buf b;
    add_ids(f, 0, 5000);
    copy_part(f, 0, &b);
    for (size_t len = 1; len < b.len; len++) { /* cut anywhere but behind the first word */
        struct buf cut = {.data = b.data, .len = len};
        cr_assert_eq(restore(other, 0, &cut), len == 8 ? SE_OK : SE_ERR_CORRUPT, "%zu", len);
    }
    for (size_t at = 0; at < 16; at++) {
        b.data[at] ^= 0x40;
        cr_assert_eq(restore(other, 0, &b), SE_ERR_CORRUPT, "%zu", at);
        b.data[at] ^= 0x40;
    }
    cr_assert_eq(count_had(other, 0, 5000), 0u);
    se__buf_done(&b);
    se__filter_close(other);
    se__filter_close(f);
}
