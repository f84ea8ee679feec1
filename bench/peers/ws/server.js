// ws, as its README broadcasts, with rooms. The first message names the room; all others go to everyone in it.
import { WebSocket, WebSocketServer } from "ws";

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 2048 });

server.on("connection", (socket) => {
  let room;
  socket.on("message", (data, binary) => {
    if (!room) {
      const name = data.toString();
      room = rooms.get(name) ?? new Set();
      rooms.set(name, room.add(socket));
      socket.send("joined");
      return;
    }
    for (const member of room) if (member.readyState === WebSocket.OPEN) member.send(data, { binary });
  });
  socket.on("error", () => {});
  socket.on("close", () => room?.delete(socket));
});
