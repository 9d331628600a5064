/*
 * examples: the README's program is the one that is built, and runs twice on its own file. (The
 * others run in tests/checks.py, beside real servers.)
 */
#include "run.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tool_examples, .init = run_init, .fini = run_done, .timeout = 60);

Test(tool_examples, the_readme_has_the_ten_lines_that_are_built)
{
    char path[4096];
    size_t len;
    snprintf(path, sizeof path, "%s/README.md", getenv("SE_SOURCE_ROOT"));
    char *readme = read_file(path, &len);
    snprintf(path, sizeof path, "%s/examples/ten_lines.c", getenv("SE_SOURCE_ROOT"));
    char *program = read_file(path, &len);
    cr_assert(says(readme, program), "README.md and examples/ten_lines.c differ");
    free(readme);
    free(program);
}

Test(tool_examples, ten_lines_runs_twice)
{
    char command[4200];
    snprintf(command, sizeof command, "'%s/examples/ten_lines' >> out", getenv("SE_BUILD_ROOT"));
    cr_assert_eq(system(command), 0);
    cr_assert_eq(system(command), 0);
    size_t len;
    char *out = read_file("out", &len);
    cr_assert_str_eq(out, "{\"name\":\"Ada\"}\n{\"name\":\"Ada\"}\n");
    free(out);
}
