/* waiting.pml - waiting and reaping: shim/core/wait.c, finish.c, kaio_leave(), host/epoll.c's watching.
 *
 * Request 0 is in the kernel, under thread 0's eventfd; request 1 is a worker's. Thread 0 has made
 * both and waits without the lock (arm_own()), thread 1 waits under the lock (arm()), a third only
 * looks (aio_error()). With HANDLER=1 thread 0 waits beside the one that looks, with HANDLER=2
 * thread 1, and is interrupted once: by a handler that looks or waits, too, or by a time-out. With
 * HANDLER=0 both wait. The reaper reaps for what is foreign. Whoever sleeps for ever is an invalid end state.
 *
 * An aiocb is used once here; that another thread may use it again is tests/api/suspend_many.c's.
 *
 * Memory is that of x86 (TSO): a store waits in the thread's buffer, until a fence, a locked
 * instruction (the mutex, an exchange, any eventfd call) or the machine empties it. What is only
 * touched under the lock is stored at once.
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
#ifndef HANDLER
#define HANDLER 0
#endif
#define NOTHING 0
#ifndef BREAK
#define BREAK NOTHING
#endif

#define T0 0 /* threads: those with a store buffer */
#define T1 1
#define LOOKER 2
#define REAPER 3
#define WORKER 4
#define STATUS(req) (1 + (req)) /* places in memory; true: ended */
#define WOKEN(thread) (3 + (thread)) /* thread->sleep is KAIO_AWAKE */

bit memory[5];    /* by place, from 1 */
byte buffered[5]; /* by thread: the place, or 0: the buffer is empty */
bit value[5];
#define LOAD(place) (buffered[me] == place -> value[me] : memory[place])
#define STORE(place, v) buffered[me] == 0 -> buffered[me] = place; value[me] = v

bit locked;
byte wake, owed, waiters[2]; /* threads to wake, kaio_reaper.owed, req->waiter */
bit watching;                /* kaio.watching: the reaper's set has the eventfds */
bit ring;                    /* the event of request 0 is in the ring */
bit reaped;
bit count[2], edge[2];       /* the eventfds, and what epoll has seen of them */
byte interruptions = (HANDLER -> 1 : 0);

inline empty_buffer(t) { memory[buffered[t]] = value[t]; buffered[t] = 0; value[t] = 0; memory[0] = 0 }

/* What is in the buffer when a thread stands still, memory will see some time. */
active proctype machine() {
end:
    do
    :: d_step { buffered[T0] -> empty_buffer(T0) }
    :: d_step { buffered[T1] -> empty_buffer(T1) }
    :: d_step { buffered[LOOKER] -> empty_buffer(LOOKER) }
    :: d_step { buffered[REAPER] -> empty_buffer(REAPER) }
    :: d_step { buffered[WORKER] -> empty_buffer(WORKER) }
    od
}

/* Also any locked instruction, hence the mutex and whatever is done with an eventfd. */
inline fence() { d_step { empty_buffer(me) } }

inline lock() { fence(); !locked -> locked = 1 }
inline unlock() { atomic { fence(); locked = 0 } }

inline eventfd_write(t) { d_step { count[t] = 1; edge[t] = watching } }

/* kaio_complete(): publish(), wake_submitter() */
inline complete(req) {
    STORE(STATUS(req), 1);
    if
    :: BREAK != COMPLETER_FENCE -> fence()
    :: else
    fi;
    wake = wake | waiters[req];
    if
    :: BREAK != SUBMITTER && !LOAD(WOKEN(T0)) -> wake = wake | 1 << T0
    :: else
    fi
}

/* kaio_leave(), under the lock: kaio_kernel_reap(); kaio_reaper_watch(): what has a count when it
 * comes into the set is seen */
inline decide() {
    if
    :: ring -> ring = 0; reaped = 1; complete(0)
    :: else
    fi;
    if
    :: owed && !watching -> watching = 1; edge[0] = count[0]; edge[1] = count[1]
    :: else
    fi;
    bits = wake;
    wake = 0
}

/* kaio_thread_wake() */
inline wake_one(t) {
    if
    :: bits & 1 << t ->
        atomic { fence(); was = memory[WOKEN(t)]; memory[WOKEN(t)] = 1 }
        if
        :: was -> was = 0
        :: else -> eventfd_write(t)
        fi
    :: else
    fi
}

/* kaio_leave(), after decide() */
inline leave() {
    do
    :: unlock();
        if
        :: bits == 0 -> break
        :: else
        fi;
        wake_one(T0);
        wake_one(T1);
        atomic { bits = 0; lock(); decide() }
    od
}

/* kaio_kernel_pending(), kaio_poll() */
inline poll_if_pending() {
    if
    :: ring -> atomic { lock(); decide() } leave()
    :: else
    fi
}

/* any_done(): one after the other */
inline look(requests) {
    done = requests & 1 && LOAD(STATUS(0));
    done = done || (requests & 2 && LOAD(STATUS(1)))
}

#define list lists[depth]
proctype program(byte me) {
    byte need, lists[2], depth, bits;
    bit done, was, begun[2], outer[2], foreign[2], late, dozing;
    if
    :: me == T1 -> need = 1
    :: me == T0 -> need = 2
    :: me == T0 && HANDLER -> need = 3
    fi;
next: /* the program waits until one of some that it needs has ended, again and again */
    if
    :: LOAD(STATUS(0)) -> need = need & 2
    :: else
    fi;
    if
    :: LOAD(STATUS(1)) -> need = need & 1
    :: else
    fi;
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
            :: BREAK != REARM -> STORE(WOKEN(me), 0)
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
    :: else -> /* arm() */
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
                :: BREAK != REARM -> STORE(WOKEN(me), 0)
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
    fence();
    if
    :: atomic { count[me] -> count[me] = 0 }
    :: depth == 0 && interruptions -> dozing = 1; goto handler
    :: atomic { depth == 0 && interruptions -> interruptions--; late = 1 }
    fi;
awake: /* wake_up() */
    atomic { STORE(WOKEN(me), 1) }
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
        atomic { STORE(WOKEN(me), 1) }
        if
        :: BREAK != REAP_AT_END -> poll_if_pending()
        :: else
        fi;
        if
        :: outer[depth] && BREAK != GIVE_BACK -> atomic { fence(); eventfd_write(me) }
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
    byte me = LOOKER, bits;
    bit was;
    if
    :: poll_if_pending()
    :: true
    fi
}

active proctype worker() {
    byte me = WORKER, bits;
    bit was;
    atomic { lock(); complete(1); decide() } /* kaio_worker_finish() */
    leave()
}

/* reaper_main(): epoll reports no edge whose count is gone */
active proctype reaper() {
    byte me = REAPER, bits;
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
        :: atomic { edge[0] -> edge[0] = 0; if :: count[0] -> break :: else fi }
        :: atomic { edge[1] -> edge[1] = 0; if :: count[1] -> break :: else fi }
        od
    od
}

active proctype kernel() {
    if
    :: BREAK != EVENT_FIRST -> ring = 1; eventfd_write(T0)
    :: else -> eventfd_write(T0); ring = 1
    fi
}

init {
    atomic {
        memory[WOKEN(T0)] = 1; /* kaio_thread_record() */
        memory[WOKEN(T1)] = 1;
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
