/*
 * lease.pml - can money leak? A Spin model of leases, budget, attempts, crashes of the
 * coordinator, and a network that loses, delays, reorders and doubles messages.
 *
 * A slot costs one unit a tick while a trainer holds it, whoever knows about that. For each
 * worker, `slack` is what was settled and reserved for it less what it has truly cost:
 *     slack >= 0              nobody spends what was not reserved
 *     free >= 0               settled + reserved, of all workers, <= released
 * after every step, for ever: times are kept relative to now and attempts relative to the
 * latest, so that the model is finite without a last tick.
 *
 * What of the protocol is modelled, and where it stands:
 *   - an attempt is placed only when its price up to the lease's end and the stop grace can be
 *     reserved; a heartbeat may renew it (scheduler/core/lease.c)
 *   - a lease counts from the time at which the agent SENT the heartbeat that the grant answers;
 *     at its end the trainer gets the grace, then it is killed (worker/agent/attempt.c)
 *   - a confirmed stop settles the use and returns the rest; silence is charged in full; both
 *     resolve the attempt, once (scheduler/core/attempt.c)
 *   - launches, grants and stops carry the attempt's number; old ones change nothing. (For
 *     grants the model shows that money does not need it: a later attempt's lease never ends
 *     before an earlier grant does.)
 *   - a coordinator that was replaced cannot append any more (its epoch is over), so it sends
 *     nothing new; what it sent before may still arrive
 *   - a crash of the coordinator loses its timers (a lease may then be taken for silent at any
 *     time) and messages, but nothing that is in the ledger
 * Messages lie in SLOTS places; any one may be delivered, delivered and kept, or lost, at any
 * time. A message for which there is no place is lost.
 *
 * Bounds that widen, never narrow: slack above SLACK_MAX is cut to it; ages stop at a largest
 * one, and where two things of the largest age are compared, either may be the newer one.
 *
 * ONE_WORKER: workers share nothing but the cap, and all that the cap does to a worker is that
 * the coordinator refuses to place or to renew. In this variant it may refuse at any time and
 * there is no cap, so that each run of any number of workers, seen from one of them, is a run of
 * the model: slack >= 0 holds for each, hence for their sum. Free >= 0 is what the other variant
 * shows, for WORKERS workers and RELEASED units.
 *
 * Each BUG_ is a deliberate mistake that must be found; run.sh knows them all.
 */
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef LEASE
#define LEASE 2
#endif
#ifndef GRACE
#define GRACE 1
#endif
#ifndef RELEASED
#define RELEASED 8
#endif
#ifndef SLOTS
#define SLOTS 2
#endif

#define WHOLE (LEASE + GRACE) /* ticks that a fresh lease may cost */
#define SLACK_MAX (2 * WHOLE)
#define OLD 2 /* the largest age of an attempt: the one before the last, or older, or none */

#ifdef BUG_NO_GRACE_RESERVED
#define MARGIN 0
#else
#define MARGIN GRACE
#endif

#ifdef BUG_LEASE_FROM_RECEIPT
#define COUNTED(age) WHOLE
#else
#define COUNTED(age) (WHOLE - (age))
#endif

#define NOTHING 0 /* an empty place of the network */
mtype = { BEAT, LAUNCH, GRANT, STOPPED };

typedef message {
    byte kind;
    byte worker;
    byte attempt; /* age: 0 is the latest that was placed on that worker */
    byte sent;    /* ticks since the heartbeat that it is, or answers, was sent; at most WHOLE */
};

typedef slot {
    short slack;
    /* in the ledger */
    bool open;
    byte booked; /* ticks until the lease and its grace, as reserved, are over */
    byte fresh;  /* BUG_GRANT_BEFORE_DURABLE: of which so much would not survive a crash */
    /* at the agent */
    bool running; /* a trainer holds the slot */
    byte seen;    /* age of the attempt that it was last told to launch */
    byte left;    /* ticks until its trainer is killed */
};

slot slots[WORKERS];
message net[SLOTS];
short free = RELEASED;
bool crashed = false; /* at least once: timers mean nothing any more */

byte i, w; /* scratch; zero between steps, so that they make no states of their own */
bool keep;
message m;

inline post(of_kind, of_attempt, of_sent)
{
    i = 0;
    do
    :: i < SLOTS && net[i].kind != NOTHING -> i++
    :: else -> break
    od;
    if
    :: i < SLOTS ->
        net[i].kind = of_kind;
        net[i].worker = w;
        net[i].attempt = of_attempt;
        net[i].sent = of_sent
    :: else
    fi;
    i = 0
}

inline clear()
{
    net[i].kind = NOTHING;
    net[i].worker = 0;
    net[i].attempt = 0;
    net[i].sent = 0
}

inline give(units)
{
    slots[w].slack = slots[w].slack + (units);
    free = free - (units)
}

inline settle_checks()
{
    assert(slots[w].slack >= 0);
#ifndef ONE_WORKER
    assert(free >= 0);
#else
    free = RELEASED;
#endif
    slots[w].slack = (slots[w].slack > SLACK_MAX -> SLACK_MAX : slots[w].slack)
}

/* A new attempt on w: what was the latest is the one before, everywhere. */
inline grow_older()
{
    slots[w].seen = (slots[w].seen < OLD -> slots[w].seen + 1 : OLD);
    i = 0;
    do
    :: i < SLOTS ->
        if
        :: net[i].kind != NOTHING && net[i].kind != BEAT && net[i].worker == w &&
           net[i].attempt < OLD -> net[i].attempt++
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

#ifdef BUG_CAP_FORGETS_RESERVED
#define AFFORDABLE(units) (free > 0)
#elif defined(ONE_WORKER)
#define AFFORDABLE(units) true
#else
#define AFFORDABLE(units) (free >= (units))
#endif

inline on_beat()
{
    if
    :: !slots[w].open && AFFORDABLE(LEASE + MARGIN) -> /* place */
        grow_older();
        slots[w].open = true;
        slots[w].booked = LEASE + MARGIN;
        give(LEASE + MARGIN);
#ifdef BUG_GRANT_BEFORE_DURABLE
        slots[w].fresh = LEASE + MARGIN;
#endif
        post(LAUNCH, 0, m.sent)
    :: slots[w].open && slots[w].booked > MARGIN && slots[w].booked < LEASE + MARGIN &&
       AFFORDABLE(LEASE + MARGIN - slots[w].booked) -> /* renew */
        give(LEASE + MARGIN - slots[w].booked);
#ifdef BUG_GRANT_BEFORE_DURABLE
        slots[w].fresh = LEASE + MARGIN - slots[w].booked;
#endif
        slots[w].booked = LEASE + MARGIN;
        post(GRANT, 0, m.sent)
    :: true /* or refuse */
    fi
}

inline on_stopped()
{
    if
#ifdef BUG_STOP_WITHOUT_ATTEMPT
    :: slots[w].open ->
#else
    :: slots[w].open && m.attempt == 0 ->
#endif
        give(-slots[w].booked); /* what was not used is returned */
        slots[w].booked = 0;
        slots[w].fresh = 0;
        slots[w].open = false
#ifdef BUG_REFUND_TWICE
    :: !slots[w].open && m.attempt == 0 -> give(-1)
#endif
    :: else
    fi
}

inline on_launch()
{
    if
#ifdef BUG_LAUNCH_WITHOUT_ATTEMPT
    :: !slots[w].running ->
#else
    :: !slots[w].running && (m.attempt < slots[w].seen || (m.attempt == OLD && slots[w].seen == OLD)) ->
#endif
        slots[w].seen = m.attempt;
        if
        :: COUNTED(m.sent) > GRACE -> /* the lease has not ended before the start */
            slots[w].running = true;
            slots[w].left = COUNTED(m.sent)
        :: else
        fi
    :: m.attempt == OLD && slots[w].seen == OLD
    :: else
    fi
}

inline on_grant()
{
    if
    :: slots[w].running && m.attempt == slots[w].seen && COUNTED(m.sent) > slots[w].left ->
        slots[w].left = COUNTED(m.sent)
    :: m.attempt == OLD && slots[w].seen == OLD
    :: else
    fi
}

inline deliver()
{
    m.kind = net[i].kind;
    m.attempt = net[i].attempt;
    m.sent = net[i].sent;
    w = net[i].worker;
    if
    :: true /* and it will come again */
    :: true -> clear()
    fi;
    i = 0;
    if
    :: m.kind == BEAT -> on_beat()
    :: m.kind == STOPPED -> on_stopped()
    :: m.kind == LAUNCH -> on_launch()
    :: m.kind == GRANT -> on_grant()
    fi;
    settle_checks();
    m.kind = NOTHING;
    m.attempt = 0;
    m.sent = 0;
    w = 0
}

/* Time passes for all. A trainer whose lease and grace are over is dead before it costs. */
inline tick()
{
    w = 0;
    do
    :: w < WORKERS ->
        if
        :: slots[w].running && slots[w].left == 0 -> slots[w].running = false
        :: else
        fi;
        if
        :: slots[w].running -> slots[w].slack--; slots[w].left--
        :: else -> slots[w].left = 0
        fi;
        slots[w].booked = (slots[w].booked > 0 -> slots[w].booked - 1 : 0);
        settle_checks();
        w++
    :: else -> break
    od;
    w = 0;
    i = 0;
    do
    :: i < SLOTS ->
        if
        :: net[i].kind != NOTHING && net[i].kind != STOPPED && net[i].sent < WHOLE -> net[i].sent++
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline charge_silence()
{
#ifdef BUG_SILENCE_IS_FREE
    give(-WHOLE);
#endif
    slots[w].booked = 0;
    slots[w].fresh = 0;
    slots[w].open = false;
    settle_checks()
}

/* Only BUG_GRANT_BEFORE_DURABLE has anything to lose. */
inline crash()
{
    crashed = true;
    w = 0;
    do
    :: w < WORKERS ->
        if
        :: slots[w].fresh > 0 ->
            give(-slots[w].fresh);
            slots[w].booked =
                (slots[w].booked > slots[w].fresh -> slots[w].booked - slots[w].fresh : 0);
            slots[w].open = (slots[w].booked > 0);
            slots[w].fresh = 0;
            settle_checks()
        :: else
        fi;
        w++
    :: else -> break
    od;
    w = 0
}

init
{
    w = 0;
    do
    :: w < WORKERS -> slots[w].seen = OLD; w++
    :: else -> break
    od;
    w = 0;
    do
    :: d_step { tick() }
    :: d_step { !crashed -> crash() }
#ifdef BUG_GRANT_BEFORE_DURABLE
    :: d_step { crashed -> crash() }
    :: d_step { slots[0].fresh > 0 -> slots[0].fresh = 0 } /* it reaches the disk */
#endif
#ifdef BUG_LEDGER_NOT_FENCED
    :: atomic { /* one that was replaced goes on granting from its own books */
            crashed && slots[0].open;
            post(GRANT, 0, 0)
        }
#endif
    :: atomic { /* a heartbeat */
            select(w : 0..(WORKERS - 1));
            post(BEAT, 0, 0);
            w = 0
        }
    :: atomic { /* a trainer ends, or an agent says again that it has */
            select(w : 0..(WORKERS - 1));
            slots[w].running = false;
            slots[w].left = 0;
            post(STOPPED, slots[w].seen, 0);
            w = 0
        }
    :: atomic { /* a message arrives */
            select(i : 0..(SLOTS - 1));
            if
            :: net[i].kind != NOTHING -> deliver()
            :: else -> i = 0
            fi
        }
    :: atomic { /* a message is lost */
            select(i : 0..(SLOTS - 1));
            clear();
            i = 0
        }
    :: atomic { /* a lease is taken for silent */
            select(w : 0..(WORKERS - 1));
            if
            :: slots[w].open && (slots[w].booked == 0 || crashed) -> charge_silence(); w = 0
            :: else -> w = 0
            fi
        }
    od
}
