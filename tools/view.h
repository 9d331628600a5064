/*
 * view - what `syncengine top` shows: two looks at an endpoint as lines of text.
 *
 * Plain ASCII, the most important lines first: a small terminal shows the first ones, cut at its width. At 80x24 all is there.
 *
 * Threads: any; pure.
 */
#ifndef SE_TOOLS_VIEW_H
#define SE_TOOLS_VIEW_H

#include "samples.h"

struct look {
    const struct samples *now;
    const struct samples *before; /* NULL: the first look; rates are not known yet */
    double seconds;               /* between them */
    const char *where;            /* the endpoint, as the user gave it */
};

#define VIEW_LINES 22
#define VIEW_COLUMNS 80

/* Appends the lines, each with a line feed, none longer than VIEW_COLUMNS, at most VIEW_LINES. */
void view_lines(const struct look *look, struct buf *out);
/* One JSON object: every series; histograms as count, sum, p50, p90, p99. */
void view_json(const struct samples *s, struct buf *out);

/* "-" if it is not known; "0", "0.3", "12.3", "1,234", "12.3M". */
void view_number(double v, char out[24]);
/* "-", "850 ns", "1.2 us", "35 ms", "2.5 s", "3m 05s". */
void view_seconds(double v, char out[24]);

#endif
