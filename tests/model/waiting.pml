/* SPDX-License-Identifier: MIT */
/* waiting.pml - waiting and reaping: shim/core/wait.c, finish.c, kaio_leave(), host/epoll.c's watching.
 *
 * Request 0 is in the kernel, under thread 0's eventfd; request 1 is a worker's. Thread 0 has made
 * both and waits without the lock (arm_own()), thread 1 waits under the lock (arm_locked()), a third only
 * looks (aio_error()). With HANDLER=1 thread 0 waits beside the one that looks, with HANDLER=2
 * thread 1, and is interrupted once: by a handler that looks or waits, too, or by a time-out. With
 * HANDLER=0 both wait. The reaper reaps for what is foreign. Whoever sleeps for ever is an invalid end state.
 *
 * An aiocb is used once here; that another thread may use it again is tests/api/suspend_many.c's.
 *
 * Memory is weak, as in litmus.py: a thread may load what a place was before its last store, and its
 * exchange may come before that, unless something has shown it the store. Stores are shown by a
 * fence to the fences behind it, by the lock, and the event in the ring by the count of an eventfd
 * (read(), epoll). Nothing else shows any, not even a status that is released and acquired. What is
 * only touched under the lock has no such past.
 *
 * BREAK: one thing is left out, and the model must fail; model.sh has the list. */
#define WAITER_FENCE    1 /* the fence in arm_own() */
#define COMPLETER_FENCE 2 /* the fence in wake_submitter() */
#define LAST_LOOK       3 /* wait_any() looks between arm_own() and its sleep */
#define SUBMITTER       4 /* kaio_complete() calls wake_submitter() */
#define WAITER          5 /* arm_one() leaves req->waiter */
#define WATCH           6 /* arm_one() counts a foreign wait in kaio_reaper.owed */
#define REAP            7 /* wait_any() reaps before it sleeps again */
#define REAP_AT_END     8 /* wait_end() reaps for the count that was read */
#define GIVE_BACK       9 /* wait_end() writes one for the outer wait */
#define EVENT_FIRST     10 /* the kernel signals after the event is in the ring */
#define REARM           11 /* fall_asleep() says that the thread sleeps */
#define LOCK_VIEW       12 /* the lock shows what was stored under it */
#define COUNT_VIEW      13 /* the count of an eventfd shows the ring's tail */
#ifndef HANDLER
#define HANDLER 0
#endif
#define NOTHING 0
#ifndef BREAK
#define BREAK NOTHING
#endif

#define T0 0 /* threads, */
#define T1 1
#define LOOKER 2
#define REAPER 3
#define WORKER 4
#define KERNEL 5
#define FENCES 6 /* and where stores are shown: by the fences so far, */
#define LOCK 7 /* by the lock, */
#define COUNT 8 /* (the ring's) by the count of thread 0's eventfd */
#define STATUS(req) (req) /* places in memory; true: ended */
#define SLEEP(thread) (2 + (thread)) /* true: thread->sleep is KAIO_AWAKE */
#define RING 4 /* true: the event of request 0 is there */
#define BIT(place) (1 << (place))

/* past: the places from which a thread may still load what they were before. That somebody was
 * asleep, or that there was an event, leads to nothing when it is seen too late: left out. */
bit memory[5];
byte past[9]; /* by who; a bit for each place */

inline forget(place) { /* what it was */
    d_step {
        past[T0] = past[T0] & ~BIT(place); past[T1] = past[T1] & ~BIT(place);
        past[LOOKER] = past[LOOKER] & ~BIT(place); past[REAPER] = past[REAPER] & ~BIT(place);
        past[WORKER] = past[WORKER] & ~BIT(place); past[FENCES] = past[FENCES] & ~BIT(place);
        past[LOCK] = past[LOCK] & ~BIT(place)
    }
}
inline load(place, v) {
    if
    :: atomic { v = memory[place]; past[me] = past[me] & ~BIT(place) }
    :: atomic { past[me] & BIT(place) -> v = !memory[place] }
    fi
}
inline end_status(req) { /* under the lock: there it is seen */
    d_step {
        memory[STATUS(req)] = 1;
        past[T0] = past[T0] | BIT(STATUS(req));
        past[T1] = past[T1] | BIT(STATUS(req));
        past[FENCES] = past[FENCES] | BIT(STATUS(req));
        past[me] = past[me] & ~BIT(STATUS(req))
    }
}
inline remember(place) { /* all but me */
    past[T0] = past[T0] | BIT(place); past[T1] = past[T1] | BIT(place);
    past[LOOKER] = past[LOOKER] | BIT(place); past[REAPER] = past[REAPER] | BIT(place);
    past[WORKER] = past[WORKER] | BIT(place); past[FENCES] = past[FENCES] | BIT(place);
    past[LOCK] = past[LOCK] | BIT(place); past[me] = past[me] & ~BIT(place)
}
inline fall_asleep() {
    d_step {
        if
        :: memory[SLEEP(me)] -> memory[SLEEP(me)] = 0; remember(SLEEP(me))
        :: else /* says so again */
        fi
    }
}
inline wake_up() { d_step { memory[SLEEP(me)] = 1; forget(SLEEP(me)) } }
inline put_event() { d_step { memory[RING] = 1; remember(RING); past[COUNT] = past[COUNT] | BIT(RING) } }

bit locked;
byte wake, owed, waiters[2]; /* threads to wake, kaio_reaper.owed, req->waiter */
bit watching;                /* kaio.watching: the reaper's set has the eventfds */
bit reaped;
bit count[2], edge[2];       /* the eventfds, and what epoll has seen of them */
byte interruptions = (HANDLER -> 1 : 0);

inline fence() { d_step { past[me] = past[me] & past[FENCES]; past[FENCES] = past[me] } }
inline lock() { atomic { !locked -> locked = 1; past[me] = past[me] & (BREAK != LOCK_VIEW -> past[LOCK] : 255) } }
inline unlock() { d_step { past[LOCK] = past[me]; locked = 0 } }

inline eventfd_write(t) {
    d_step {
        count[t] = 1;
        edge[t] = watching;
        past[COUNT] = past[COUNT] & (t == T0 && BREAK != COUNT_VIEW -> past[me] : 255)
    }
}
inline see_count(t) { past[me] = past[me] & (t == T0 -> past[COUNT] | ~BIT(RING) : 255) }

/* kaio_complete(): publish(), kaio_thread_wake_waiter(), wake_submitter() */
inline complete(req) {
    end_status(req);
    if
    :: BREAK != COMPLETER_FENCE -> fence()
    :: else
    fi;
    if
    :: waiters[req] -> load(SLEEP(T1), was); wake = wake | (was -> 0 : waiters[req])
    :: else
    fi;
    if
    :: BREAK != SUBMITTER -> load(SLEEP(T0), was); wake = wake | (was -> 0 : 1 << T0)
    :: else
    fi;
    was = 0
}

/* kaio_leave(), under the lock: kaio_kernel_reap(); kaio_reaper_watch(): what has a count when it
 * comes into the set is seen */
inline decide() {
    load(RING, was);
    if
    :: was -> memory[RING] = 0; forget(RING); reaped = 1; complete(0)
    :: else
    fi;
    if
    :: owed && !watching -> watching = 1; edge[0] = count[0]; edge[1] = count[1]
    :: else
    fi;
    bits = bits | wake;
    wake = 0
}

/* kaio_thread_wake(), of one; the exchange may have come before the thread's last store */
inline wake_one() {
    atomic {
        t = (bits & 1 << T0 -> T0 : T1);
        bits = bits & ~(1 << t);
        if
        :: !memory[SLEEP(t)] -> memory[SLEEP(t)] = 1; forget(SLEEP(t)); eventfd_write(t)
        :: memory[SLEEP(t)] || past[me] & BIT(SLEEP(t)) -> skip
        fi;
        t = 0
    }
}

/* kaio_leave(), after decide() */
inline leave() {
    do
    :: unlock();
        if
        :: bits == 0 -> break
        :: else
        fi;
        wake_one();
        atomic { lock(); decide() }
    od
}

/* kaio_kernel_pending(), kaio_poll() */
inline poll_if_pending() {
    load(RING, was);
    if
    :: was -> atomic { was = 0; lock(); decide() } leave()
    :: else
    fi
}

/* any_done(): one after the other */
inline look(requests) {
    done = 0;
    if
    :: requests & 1 -> load(STATUS(0), done)
    :: else
    fi;
    if
    :: !done && requests & 2 -> load(STATUS(1), done)
    :: else
    fi
}

#define list lists[depth]
proctype program(byte me) {
    byte need, lists[2], depth, bits, t;
    bit done, was, begun[2], outer[2], foreign[2], late, dozing;
    if
    :: me == T1 -> need = 1
    :: me == T0 -> need = 2
    :: me == T0 && HANDLER -> need = 3
    fi;
next: /* the program waits until one of some that it needs has ended, again and again */
    load(STATUS(0), done);
    need = need & (done -> 2 : 3);
    load(STATUS(1), done);
    need = need & (done -> 1 : 3);
    done = 0;
    if
    :: need == 0 -> goto stop
    :: need == 1 || need == 2 -> list = need
    :: need == 3 && HANDLER -> list = 1
    :: need == 3 && HANDLER -> list = 2
    :: need == 3 -> list = 3
    fi;
wait: /* wait_any() */
    look(list);
    if
    :: done -> goto over
    :: else
    fi;
    if
    :: BREAK != REAP -> poll_if_pending()
    :: else
    fi;
    if
    :: late -> goto over
    :: else
    fi;
    if
    :: me == T0 -> /* arm_own() */
        atomic {
            if
            :: !begun[depth] -> begun[depth] = 1; outer[depth] = (depth -> begun[0] : 0)
            :: else
            fi;
            if
            :: BREAK != REARM -> fall_asleep()
            :: else
            fi
        }
        if
        :: depth == 0 && interruptions -> dozing = 0; goto handler
        :: true
        fi;
armed:
        if
        :: BREAK != WAITER_FENCE -> fence()
        :: else
        fi
    :: else -> /* arm_locked() */
        atomic {
            lock();
            if
            :: !begun[depth] -> begun[depth] = 1; outer[depth] = (depth -> begun[0] : 0)
            :: else
            fi;
            owed = owed - foreign[depth];
            foreign[depth] = 0;
            look(list);
            if
            :: done -> skip
            :: else ->
                if
                :: list & 1 ->
                    foreign[depth] = !reaped && BREAK != WATCH;
                    owed = owed + foreign[depth];
                    waiters[0] = waiters[0] | (BREAK != WAITER -> 1 << me : 0)
                :: else
                fi;
                if
                :: list & 2 -> waiters[1] = waiters[1] | (BREAK != WAITER -> 1 << me : 0)
                :: else
                fi;
                if
                :: BREAK != REARM -> fall_asleep()
                :: else
                fi
            fi;
            decide()
        }
        leave();
        if
        :: done -> goto over
        :: else
        fi
    fi;
    done = 0;
    if
    :: BREAK != LAST_LOOK -> look(list)
    :: else
    fi;
    if
    :: done -> goto awake
    :: else
    fi;
doze: /* sleep_on(): read() of the eventfd, which restarts after a handler */
    if
    :: atomic { count[me] -> count[me] = 0; see_count(me) }
    :: depth == 0 && interruptions -> dozing = 1; goto handler
    :: atomic { depth == 0 && interruptions -> interruptions--; late = 1 }
    fi;
awake: /* wake_up() */
    atomic { wake_up() }
    goto wait;
over: /* wait_end() */
    late = 0;
    done = 0;
    if
    :: begun[depth] ->
        if
        :: foreign[depth] -> atomic { lock(); owed--; foreign[depth] = 0; decide() } leave()
        :: else
        fi;
        atomic { wake_up() }
        if
        :: BREAK != REAP_AT_END -> poll_if_pending()
        :: else
        fi;
        if
        :: outer[depth] && BREAK != GIVE_BACK -> eventfd_write(me)
        :: else
        fi
    :: else
    fi;
    begun[depth] = 0;
    outer[depth] = 0;
    list = 0;
    if
    :: depth == 0 -> goto next
    :: else -> depth = 0
    fi;
resume:
    if
    :: dozing -> dozing = 0; goto doze
    :: else -> goto armed
    fi;
handler:
    interruptions--;
    if
    :: poll_if_pending(); goto resume /* aio_error() */
    :: depth = 1; list = 1; goto wait /* aio_suspend() */
    :: depth = 1; list = 2; goto wait
    :: depth = 1; list = 3; goto wait
    fi;
stop:
    skip
}

proctype looker() {
    byte me = LOOKER, bits, t;
    bit was;
    if
    :: poll_if_pending()
    :: true
    fi
}

active proctype worker() {
    byte me = WORKER, bits, t;
    bit was;
    atomic { lock(); complete(1); decide() } /* kaio_worker_finish() */
    leave()
}

/* reaper_main(): epoll reports no edge whose count is gone */
active proctype reaper() {
    byte me = REAPER, bits, t;
    bit was;
    goto end; /* its first look finds nothing */
    do
    :: atomic {
            lock();
            if
            :: watching && !owed -> watching = 0; edge[0] = 0; edge[1] = 0
            :: else
            fi;
            decide()
        }
        leave();
end:
        do
        :: atomic { edge[0] -> edge[0] = 0; if :: count[0] -> see_count(T0); break :: else fi }
        :: atomic { edge[1] -> edge[1] = 0; if :: count[1] -> break :: else fi }
        od
    od
}

active proctype kernel() {
    byte me = KERNEL;
    if
    :: BREAK != EVENT_FIRST -> put_event(); eventfd_write(T0)
    :: else -> eventfd_write(T0); put_event()
    fi
}

init {
    atomic {
        memory[SLEEP(T0)] = 1; /* kaio_thread_record() */
        memory[SLEEP(T1)] = 1;
        if
        :: HANDLER != 2 -> run program(T0)
        :: else
        fi;
        if
        :: HANDLER != 1 -> run program(T1)
        :: else
        fi;
        if
        :: HANDLER -> run looker()
        :: else
        fi
    }
}
