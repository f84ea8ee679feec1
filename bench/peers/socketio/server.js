// Socket.IO with its rooms, WebSocket only.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  socket.on("join", (room, acknowledge) => {
    socket.data.room = room;
    socket.join(room);
    acknowledge();
  });
  socket.on("shout", (message) => io.to(socket.data.room).emit("shout", message));
});
http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 2048 });
