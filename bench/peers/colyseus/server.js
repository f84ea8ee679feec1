// Colyseus: one room of its own for each number; everyone in it hears what one of them says.
import { Room, Server } from "@colyseus/core";
import { WebSocketTransport } from "@colyseus/ws-transport";

class Bench extends Room {
  seatReservationTimeout = 600;

  onCreate() {
    this.onMessage("shout", (_, message) => this.broadcast("shout", message));
  }
}

const server = new Server({ greet: false, transport: new WebSocketTransport({ maxPayload: 65536 }) });
server.define("bench", Bench).filterBy(["room"]);
await server.listen(Number(process.argv[2]), "127.0.0.1", 2048);
