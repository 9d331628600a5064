/*
 * resp - one connection to a Redis server: commands out, replies in, by deadline.
 *
 * The socket is ours (base/os.h), and so is the writing of commands, straight into one buffer;
 * hiredis only parses. (Its own sockets raise SIGPIPE and block in name lookup; its formatter
 * copies every record twice more.)
 *
 *   se__resp_begin, se__resp_arg...  any number of commands;  se__resp_exchange  sends them and
 *   reads a reply for each
 *
 * Invariants
 *   I1  pending is the number of commands begun whose reply has not been read
 *   I2  once dead, nothing is sent or read any more: a late reply can never answer the next command
 *   I3  replies come in the order of their commands: those that were left are read before any later one
 *
 * Protocol: RESP2 (https://redis.io/docs/reference/protocol-spec/).
 * Threads: caller-serialised.  Memory: se__resp_open returns, se__resp_close frees.
 */
#ifndef SE_L2_RESP_H
#define SE_L2_RESP_H

#include "base/buf.h"
#include "base/url.h"

struct redisReply;
struct resp;

/* Connects; says nothing to the server yet. SE_ERR_TIMEOUT, SE_ERR_BACKEND, SE_ERR_NOMEM. */
SE_NODISCARD se_result se__resp_open(const struct url *url, uint64_t deadline_ms,
                                     struct resp **resp);
void se__resp_close(struct resp *c); /* NULL is allowed */

/* Begins a command of exactly `args` arguments, its name included. Failures
 * stick and show in the exchange. */
void se__resp_begin(struct resp *c, size_t args);
/* The same of one that is answered by an array of `replies` elements, each of which is delivered as a
 * reply of its own, where it lies; so is an error in place of all of them, for the first. All commands
 * of an exchange are such ones then, of the same number but for the last. */
void se__resp_begin_spread(struct resp *c, size_t args, size_t replies);
void se__resp_arg(struct resp *c, const void *bytes, size_t len);
/* one argument */
void se__resp_arg2(struct resp *c, const void *head, size_t head_len, const void *tail,
                   size_t tail_len);
void se__resp_text(struct resp *c, const char *text);
void se__resp_number(struct resp *c, uint64_t n);
/* Room for an argument of `len` bytes, to be filled at once; NULL without memory. */
SE_NODISCARD uint8_t *se__resp_arg_room(struct resp *c, size_t len);
/* An argument of `len` bytes to be filled later; returns where it is, until the next push or
 * exchange. se__resp_at: the bytes there, until the next append; there are none after a failure of
 * memory, which se__resp_arg_room's NULL shows. */
size_t se__resp_hole(struct resp *c, size_t len);
uint8_t *se__resp_at(struct resp *c, size_t at);
/* Called for each reply, index in the order of the commands since the last exchange;
 * the reply is lent for the call. */
typedef void (*resp_reply_fn)(void *arg, size_t index, const struct redisReply *reply);
/* Sends what is complete if enough has gathered, and reads replies, so that a large pipeline needs
 * little memory here and there. Call between commands, with what the exchange will be given, and be
 * ready for any reply of the commands before. NULL: they are to be left, none is read. */
void se__resp_push(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply, void *arg);
/* Sends what is left and reads every reply that is still to come. Any error leaves the connection dead; replies
 * that had come before it were delivered, also those that a server sends before it hangs up on
 * us. SE_ERR_TIMEOUT, SE_ERR_BACKEND, SE_ERR_NOMEM. */
SE_NODISCARD se_result se__resp_exchange(struct resp *c, uint64_t deadline_ms,
                                         resp_reply_fn on_reply, void *arg);

/* Sends what is left and waits for nothing: the replies go to `late` when the connection is used
 * next, before anything else is read. For commands whose outcome nobody waits for. Errors as of the
 * exchange. */
SE_NODISCARD se_result se__resp_leave(struct resp *c, uint64_t deadline_ms);
/* Who gets those replies (index is 0); NULL, as at first: nobody. */
void se__resp_on_late(struct resp *c, resp_reply_fn late, void *arg);

/* True if it must not be used again: dead, unread replies (those that were left are read first, as
 * far as they have come), closed by the peer, bytes that nobody asked for. */
bool se__resp_broken(struct resp *c);

#endif
