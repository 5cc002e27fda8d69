%% What the BEAM does of what benchmarks/actors.py measures, which compiles and runs this module.
%%
%% usage: erl +S 1 +P 2000000 -noshell -run beam main
%%
%% One line for each measurement, a name and a figure: "ping_pong 1550000.0". A
%% rate is a second's, and the last figure is bytes. One round; the caller
%% repeats it, between rounds of others.
-module(beam).
-behaviour(gen_server).
-export([main/0, init/1, handle_call/3, handle_cast/2]).

-define(ROUND_TRIPS, 500000).
-define(SPAWNED, 100000).
-define(CALLS, 200000).

main() ->
    report(otp, list_to_integer(erlang:system_info(otp_release))),
    report(ping_pong, ping_pong(?ROUND_TRIPS)),
    report(spawn_waiting, spawn_waiting(?SPAWNED)),
    report(spawn_ending, spawn_ending(?SPAWNED)),
    report(call, call(?CALLS)),
    report(bytes, bytes(?SPAWNED)),
    halt().

report(Name, Figure) ->
    io:format("~s ~w~n", [Name, Figure]).

%% What Fun does Count times: how often that is in a second.
rate(Count, Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Fun(),
    Count * 1.0e9 / (erlang:monotonic_time(nanosecond) - Start).

%% Two processes return a ball.
ping_pong(Rounds) ->
    Main = self(),
    [One, Two] = [spawn(fun() -> player(Main, Rounds) end) || _ <- [1, 2]],
    One ! Two,
    Two ! One,
    rate(Rounds, fun() -> One ! ball, finished(One), finished(Two) end).

player(Main, Rounds) ->
    receive Peer -> play(Main, Peer, Rounds) end.

play(Main, _, 0) ->
    Main ! {finished, self()};
play(Main, Peer, Left) ->
    receive Ball -> Peer ! Ball, play(Main, Peer, Left - 1) end.

finished(Pid) ->
    receive {finished, Pid} -> ok end.

%% Until the last one has run: every one of them has had its first step then, and waits.
spawn_waiting(Count) ->
    Main = self(),
    Rate = rate(Count, fun() ->
        put(waiting, [spawn(fun idle/0) || _ <- lists:seq(2, Count)]),
        finished(spawn(fun() -> Main ! {finished, self()} end))
    end),
    stop(erase(waiting)),
    Rate.

idle() ->
    receive stop -> ok end.

%% Until all of them are dead again.
spawn_ending(Count) ->
    Before = erlang:system_info(process_count),
    rate(Count, fun() ->
        spawn_many(Count),
        wait_until(fun() -> erlang:system_info(process_count) =< Before end)
    end).

spawn_many(0) -> ok;
spawn_many(Count) -> spawn(fun() -> ok end), spawn_many(Count - 1).

wait_until(Condition) ->
    case Condition() of
        true -> ok;
        false -> erlang:yield(), wait_until(Condition)
    end.

call(Count) ->
    {ok, Server} = gen_server:start(?MODULE, nothing, []),
    Main = self(),
    Rate = rate(Count, fun() ->
        finished(spawn(fun() -> call(Server, Count), Main ! {finished, self()} end))
    end),
    gen_server:stop(Server),
    Rate.

call(_, 0) -> ok;
call(Server, Left) -> Left = gen_server:call(Server, Left), call(Server, Left - 1).

init(State) -> {ok, State}.
handle_call(Request, _, State) -> {reply, Request, State}.
handle_cast(_, State) -> {noreply, State}.

bytes(Count) ->
    erlang:garbage_collect(),
    Before = erlang:memory(processes),
    Waiting = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
    erlang:garbage_collect(),
    Bytes = (erlang:memory(processes) - Before) / Count,
    stop(Waiting),
    Bytes.

stop(Pids) ->
    Before = erlang:system_info(process_count) - length(Pids),
    [Pid ! stop || Pid <- Pids],
    wait_until(fun() -> erlang:system_info(process_count) =< Before end).
