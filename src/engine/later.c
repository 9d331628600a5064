/*
 * later - the parts of the public contract that this version answers with SE_ERR_UNSUPPORTED.
 */
#include "engine/engine.h"

#include <string.h>

static se_result unsupported(const se_engine *e, const char *what)
{
    se_result r = se__look_in(e);
    return r == SE_OK ? se__error(SE_ERR_UNSUPPORTED, "%s: not in this version", what) : r;
}

se_result se_merkle_root(se_engine *e, se_tier tier, se_merkle_node *root)
{
    (void)tier;
    (void)root;
    return unsupported(e, "se_merkle_root");
}

se_result se_merkle_children(se_engine *e, se_tier tier, unsigned depth, uint32_t index,
                             se_merkle_node children[16])
{
    (void)tier;
    (void)depth;
    (void)index;
    (void)children;
    return unsupported(e, "se_merkle_children");
}

se_result se_merkle_prefix(se_engine *e, se_tier tier, const char *prefix, se_merkle_node *node)
{
    (void)tier;
    (void)prefix;
    (void)node;
    return unsupported(e, "se_merkle_prefix");
}

void se_verify_options_init_sized(se_verify_options *options, size_t size)
{
    memset(options, 0, size);
    options->struct_size = size;
}

se_result se_verify(se_engine *e, const se_verify_options *options, se_verify_report *report)
{
    (void)options;
    (void)report;
    return unsupported(e, "se_verify");
}

se_result se_http_start(se_engine *e, const char *address, uint16_t *port)
{
    (void)address;
    (void)port;
    return unsupported(e, "se_http_start");
}

void se_http_stop(se_engine *e)
{
    (void)e;
}
