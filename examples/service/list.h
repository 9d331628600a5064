/*
 * list - ids with a prefix, as one page of JSON.
 */
#ifndef SERVICE_LIST_H
#define SERVICE_LIST_H

#include <syncengine/syncengine.h>

#define LIST_MAX 1000ul

/* {"ids":["a","b"],"next":"b"}: at most limit ids behind `after` (NULL: from the first), in order;
 * next, where there may be more, is the `after` of the next page. *text is freed with free(). */
se_result list_ids(se_engine *engine, const char *prefix, const char *after, size_t limit,
                   char **text, size_t *len);

#endif
