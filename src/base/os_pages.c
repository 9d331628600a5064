/*
 * os_pages - huge pages by madvise(MADV_COLLAPSE), Linux 6.1.
 */
#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define SETTINGS "/sys/kernel/mm/transparent_hugepage/"

static bool setting(const char *path, char text[64])
{
    FILE *f = fopen(path, "re");
    bool read = f && fgets(text, 64, f);
    if (f)
        fclose(f);
    return read;
}

/* The call itself would not ask for the administrator's "never". */
bool se__huge_pages_allowed(void)
{
    char enabled[64], size[64];
    if (!setting(SETTINGS "enabled", enabled) || strstr(enabled, "[never]"))
        return false;
    return setting(SETTINGS "hpage_pmd_size", size) && strtoull(size, NULL, 10) == SE__HUGE_PAGE;
}

bool se__huge_page_make(uintptr_t at)
{
    return madvise((void *)at, SE__HUGE_PAGE, MADV_COLLAPSE) == 0;
}
