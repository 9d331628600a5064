/*
 * The queue of dirty ids: its order, its account, and the numbers that flushes wait for.
 */
#include "flush/dirty.h"
#include "support/test.h"

enum { NODES = 16 };

static struct dirty_queue queue;
static struct dirty_node nodes[NODES];

static void push_n(size_t from, size_t n, size_t bytes)
{
    for (size_t i = from; i < from + n; i++) {
        nodes[i] = (struct dirty_node){.hash = i, .first_ms = 100 + i, .bytes = bytes};
        se__dirty_push(&queue, &nodes[i], false);
    }
}

static void set_up(void)
{
    se__dirty_init(&queue);
}

static void tear_down(void)
{
    se__dirty_done(&queue);
}

TestSuite(flush_dirty, .init = set_up, .fini = tear_down);

Test(flush_dirty, hands_out_what_was_pushed_in_order)
{
    size_t n;
    uint64_t up_to, expected = 0;
    push_n(0, 5, 10);
    cr_assert_eq(queue.items, 5);
    cr_assert_eq(queue.bytes, 50);
    struct dirty_node *node = se__dirty_take(&queue, 100, 1000, &n, &up_to);
    cr_assert_eq(n, 5);
    cr_assert_eq(up_to, 5);
    for (; node; node = node->next)
        cr_assert_eq(node->hash, expected++);
    cr_assert_eq(expected, 5);
    cr_assert_eq(queue.items, 0);
    cr_assert_eq(queue.bytes, 0);
    cr_assert_null(se__dirty_take(&queue, 100, 1000, &n, &up_to));
    cr_assert_eq(n, 0);
}

Test(flush_dirty, a_queue_that_was_emptied_takes_pushes_again)
{
    size_t n;
    uint64_t up_to;
    for (int round = 0; round < 3; round++) {
        push_n(0, 2, 1);
        cr_assert_not_null(se__dirty_take(&queue, 100, 1000, &n, &up_to));
        cr_assert_eq(n, 2);
        cr_assert_eq(up_to, 2 * (uint64_t)(round + 1));
        se__dirty_settle(&queue);
    }
}

Test(flush_dirty, takes_at_most_items_max)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 5, 10);
    struct dirty_node *node = se__dirty_take(&queue, 3, 1000, &n, &up_to);
    cr_assert_eq(n, 3);
    cr_assert_eq(up_to, 3);
    cr_assert_null(node->next->next->next);
    cr_assert_eq(queue.items, 2);
    node = se__dirty_take(&queue, 3, 1000, &n, &up_to);
    cr_assert_eq(node->hash, 3);
    cr_assert_eq(up_to, 5);
}

Test(flush_dirty, stops_before_bytes_max_is_exceeded)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 5, 10);
    cr_assert_not_null(se__dirty_take(&queue, 100, 29, &n, &up_to));
    cr_assert_eq(n, 2);
    cr_assert_not_null(se__dirty_take(&queue, 100, 30, &n, &up_to));
    cr_assert_eq(n, 3);
}

Test(flush_dirty, a_giant_travels_alone)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 1, 10);
    push_n(1, 1, 5000);
    push_n(2, 1, 10);
    cr_assert_not_null(se__dirty_take(&queue, 100, 100, &n, &up_to));
    cr_assert_eq(n, 1);
    cr_assert_eq(se__dirty_take(&queue, 100, 100, &n, &up_to)->hash, 1);
    cr_assert_eq(n, 1);
    cr_assert_eq(se__dirty_take(&queue, 100, 100, &n, &up_to)->hash, 2);
}

Test(flush_dirty, what_is_put_back_goes_first_and_holds_the_number)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 3, 1);
    struct dirty_node *node = se__dirty_take(&queue, 2, 100, &n, &up_to);
    cr_assert_eq(up_to, 2);
    se__dirty_push(&queue, node->next, true);
    se__dirty_push(&queue, node, true);
    push_n(3, 1, 1);
    node = se__dirty_take(&queue, 1, 100, &n, &up_to);
    cr_assert_eq(node->hash, 0);
    cr_assert_eq(up_to, 0, "node 1 was put back and still waits");
    node = se__dirty_take(&queue, 1, 100, &n, &up_to);
    cr_assert_eq(node->hash, 1);
    cr_assert_eq(up_to, 2, "nothing put back waits; 3 and 4 do");
    (void)se__dirty_take(&queue, 10, 100, &n, &up_to);
    cr_assert_eq(up_to, 4);
}

Test(flush_dirty, putting_back_into_an_empty_queue_keeps_its_end)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 1, 1);
    struct dirty_node *node = se__dirty_take(&queue, 1, 100, &n, &up_to);
    se__dirty_push(&queue, node, true);
    push_n(1, 1, 1);
    node = se__dirty_take(&queue, 10, 100, &n, &up_to);
    cr_assert_eq(n, 2);
    cr_assert_eq(node->next->hash, 1);
    cr_assert_null(node->next->next);
}

Test(flush_dirty, a_batch_on_its_way_is_counted_until_it_is_settled)
{
    size_t n;
    uint64_t up_to;
    push_n(0, 4, 1);
    (void)se__dirty_take(&queue, 3, 100, &n, &up_to);
    cr_assert_eq(queue.taken, 3);
    cr_assert_eq(queue.taken_oldest_ms, 100);
    cr_assert_eq(se__dirty_settle(&queue), 4);
    cr_assert_eq(queue.taken, 0);
    cr_assert_eq(queue.taken_oldest_ms, 0);
}
