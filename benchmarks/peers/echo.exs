# The peer: the article's echo server, a process for each connection, as in Elixir's getting-started guide.
#
# usage: elixir --erl "+S 1:1" echo.exs PORT
#
# It differs in two lines, both in its favour: a longer queue, so that clients that arrive together do not wait a
# second for their retry, and a connection's end is an end and no crash report.
defmodule EchoServer do
  def listen(port) do
    options = [:binary, packet: :raw, active: false, reuseaddr: true, ip: {127, 0, 0, 1}, backlog: 1024]
    {:ok, socket} = :gen_tcp.listen(port, options)
    {:ok, supervisor} = Task.Supervisor.start_link()
    loop_acceptor(socket, supervisor)
  end

  defp loop_acceptor(socket, supervisor) do
    {:ok, client} = :gen_tcp.accept(socket)
    {:ok, pid} = Task.Supervisor.start_child(supervisor, fn -> serve(client) end)
    :gen_tcp.controlling_process(client, pid)
    loop_acceptor(socket, supervisor)
  end

  defp serve(socket) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, data} ->
        :gen_tcp.send(socket, data)
        serve(socket)

      {:error, _} ->
        :gen_tcp.close(socket)
    end
  end
end

[port] = System.argv()
EchoServer.listen(String.to_integer(port))
