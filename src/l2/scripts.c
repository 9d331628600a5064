/*
 * scripts - see scripts.h.
 *
 * Versions and hashes are compared byte by byte as numbers: Lua's numbers hold 53 bits, and its
 * order of strings may follow the server's locale. What the guard reads (item/record.h, bytes
 * 0..35, here counted from 1): magic 1-2, kind 4, generation 5-12, version and record hash 13-36;
 * these stay in every later layout, so the layout's number is not compared.
 *
 * pcall: a key of another type is garbage that SET replaces; every other error (no permission, say)
 * must stop the script, or the write would go through unguarded. Writes run before or after, never
 * half: SET is the last step for each key, and repeating a script that failed in the middle is
 * harmless.
 *
 * Measured (Redis 7.0, records of 592 bytes, 100 keys a call, us of the server's CPU a key, all of
 * it: the socket, parsing, the command): plain SET, one a key, 1.6; the guard 3.5; the records as
 * arguments of a script that does nothing 1.3. Almost half of that is Lua's hash over every byte of
 * every string it is given, which is why SCRIPT_OPEN (bulk.h) sees headers only: 2.5. Numbers
 * handed to redis.call are printed as "%.17g" and cost more than the rest of the call: they are
 * written as text here.
 */
#include "l2/scripts.h"

/* The clock may be behind the deadline by SCRIPT_AHEAD_MS_MAX and a little;
 * more means that it jumped back. */
#define HEAD                                                                                       \
    "local call, pcall, sub, byte = redis.call, redis.pcall, string.sub, string.byte\n"            \
    "local KEYS, ARGV = KEYS, ARGV\n"                                                              \
    "local t = call('TIME')\n"                                                                     \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"                                          \
    "local out = {now}\n"                                                                          \
    "local last = tonumber(ARGV[1])\n"                                                             \
    "if now >= last or now < last - 310000 then return out end\n"                                  \
    "local gen = ARGV[2]\n"

#define STORE                                                                                      \
    "local function store(key, record, px)\n"                                                      \
    "  if px == '0' then call('SET', key, record)\n"                                               \
    "  else call('SET', key, record, 'PX', px) end\n"                                              \
    "end\n"

/* The first bytes under a key; nil for another type; an error table for any other failure. */
#define PEEK                                                                                       \
    "local function peek(key, last_byte)\n"                                                        \
    "  local got = pcall('GETRANGE', key, '0', last_byte)\n"                                       \
    "  if type(got) == 'string' then return got end\n"                                             \
    "  if string.find(got.err, 'WRONGTYPE', 1, true) then return nil end\n"                        \
    "  return nil, got\n"                                                                          \
    "end\n"                                                                                        \
    "local function ours(old)\n"                                                                   \
    "  return old and #old >= 36 and sub(old, 1, 2) == 'SE'\n"                                     \
    "    and sub(old, 5, 12) == gen\n"                                                             \
    "end\n"

/* The order of (version, record hash) at a[i] and b[j]: six bytes are a number that Lua holds. Of two
 * versions the first six differ, unless they are of one millisecond. */
#define ORDER                                                                                      \
    "local function number(s, at)\n"                                                               \
    "  local a, b, c, d, e, f = byte(s, at, at + 5)\n"                                             \
    "  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f\n"                       \
    "end\n"                                                                                        \
    "local function order(a, i, b, j)\n"                                                           \
    "  for at = 0, 18, 6 do\n"                                                                     \
    "    local d = number(a, i + at) - number(b, j + at)\n"                                        \
    "    if d ~= 0 then return d end\n"                                                            \
    "  end\n"                                                                                      \
    "  return 0\n"                                                                                 \
    "end\n"

static const char GUARD[] = HEAD STORE PEEK ORDER
    "for i = 1, #KEYS do\n"
    "  local key, new, px = KEYS[i], ARGV[2 * i + 1], ARGV[2 * i + 2]\n"
    "  local old, err = peek(key, '35')\n"
    "  if err then return err end\n"
    "  local result = 1\n"
    "  if not ours(old) or byte(old, 4) == 4 then\n"
    "    store(key, new, px)\n"
    "  else\n"
    "    local d = order(old, 13, new, 13)\n"
    "    if d > 0 then result = sub(old, 13, 20)\n"
    /* The same write again: written again, which heals damage behind the header. Of two forms of
     * one write the greater kind stays, in whatever order they come: a floor is not undone. */
    "    elseif d < 0 or byte(old, 4) <= byte(new, 4) then store(key, new, px)\n"
    "    else result = 2 end\n"
    "  end\n"
    "  out[i + 1] = result\n"
    "end\n"
    "return out\n";

/* The same comparison, of headers alone. acl_check_cmd (Redis 7): a user who may not do what comes
 * before and after this script must not get half of it. GETRANGE fails on another type, and with
 * it the script: the guard will see. */
static const char OPEN[] = HEAD PEEK ORDER
    "local may = redis.acl_check_cmd\n"
    "if not may or not may('MULTI') or not may('DEL', KEYS[1])\n"
    "  or not may('MSETNX', KEYS[1], '0') then return {now, 2} end\n"
    "local heads = ARGV[3]\n"
    "for i = 2, #KEYS do\n"
    "  local old = call('GETRANGE', KEYS[i], '0', '35')\n"
    "  local m, n, _, kind = byte(old, 1, 4)\n"
    "  if m == 83 and n == 69 and kind ~= 4 and sub(old, 5, 12) == gen and #old == 36 then\n"
    "    local at = 25 * (i - 2) + 1\n"
    "    local a, b, c, d, e, f = byte(old, 13, 18)\n"
    "    local u, v, w, x, y, z = byte(heads, at + 1, at + 6)\n"
    "    local o = (((((a - u) * 256 + b - v) * 256 + c - w) * 256 + d - x) * 256 + e - y)\n"
    "      * 256 + f - z\n"
    "    if o == 0 then o = order(old, 13, heads, at + 1) end\n"
    "    if o > 0 or (o == 0 and kind > byte(heads, at)) then return {now, 0} end\n"
    "  end\n"
    "end\n"
    "call('DEL', unpack(KEYS))\n"
    "return {now, 1}\n";

static const char LEASE[] = HEAD STORE PEEK
    "for i = 1, #KEYS do\n"
    "  local key, seen, lease, px = KEYS[i], ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]\n"
    "  local old, err = peek(key, '87')\n"
    "  if err then return err end\n"
    "  if not ours(old) or (seen ~= '' and old == seen) then\n"
    "    store(key, lease, px)\n"
    "    out[i + 1] = 1\n"
    "  else\n"
    "    out[i + 1] = 0\n"
    "  end\n"
    "end\n"
    "return out\n";

static const char SWAP[] = HEAD STORE PEEK
    "for i = 1, #KEYS do\n"
    "  local key, header, record, px = KEYS[i], ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]\n"
    "  local old, err = peek(key, '87')\n"
    "  if err then return err end\n"
    "  if old ~= '' and (old or '') == header\n"
    "    or (old == '' and header == '' and call('EXISTS', key) == 1) then\n"
    "    store(key, record, px)\n"
    "    out[i + 1] = 1\n"
    "  else\n"
    "    out[i + 1] = 0\n"
    "  end\n"
    "end\n"
    "return out\n";

static const char META[] =
    HEAD "for i = 1, #KEYS do\n"
         "  local key, verb, name, value = KEYS[i], ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]\n"
         "  if verb == 'put' then call('HSET', key, name, value)\n"
         "  elseif verb == 'add' then call('HSETNX', key, name, value)\n"
         "  elseif verb == 'delete' then call('HDEL', key, name) end\n"
         "  out[i + 1] = call('HGET', key, name)\n"
         "end\n"
         "return out\n";

const char *se__script_text(enum script script)
{
    static const char *const TEXTS[SCRIPT_COUNT] = {GUARD, LEASE, SWAP, META, OPEN};
    return TEXTS[script];
}

size_t se__script_args_per_key(enum script script)
{
    static const size_t ARGS[SCRIPT_COUNT] = {2, 3, 3, 3, 0};
    return ARGS[script];
}
