#include <syncengine/syncengine.h>
#include <stdio.h>

int main(void)
{
    se_config config;
    se_config_init(&config);
    config.sql_url = "sqlite:quick.db"; /* or mysql://...; config.redis_url beside it */
    se_engine *engine;
    if (se_open(&config, &engine) != SE_OK ||
        se_submit(engine, "user:1", "{\"name\":\"Ada\"}", 14, NULL) != SE_OK)
        return fprintf(stderr, "%s\n", se_errmsg()), 1;
    se_item *item;
    if (se_get(engine, "user:1", &item) == SE_OK) {
        printf("%.*s\n", (int)se_item_content_len(item), (const char *)se_item_content(item));
        se_item_release(item);
    }
    return se_close(engine, 5000) == SE_OK ? 0 : 1;
}
