// The peer: Go's net package, a goroutine for each connection. The caller sets GOMAXPROCS.
//
// usage: echo PORT
package main

import (
	"log"
	"net"
	"os"
)

func serve(connection net.Conn) {
	defer connection.Close()
	// Not io.Copy: between two sockets that is splice, slower for small messages.
	buffer := make([]byte, 64*1024)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}
