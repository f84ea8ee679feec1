// The demo game: draws what client.js knows, and turns held keys into moves. `?player=ann` names the player,
// `?server=arena-1` the node to begin with.

import { connect } from "./client.js";

const MOVES_MILLISECONDS = 50; // between moves while a key is held
const MOST_UNANSWERED = 20; // a second's worth: no more are made while the connection is away
const SHIP_RADIUS = 10;
const NAME_PIXELS = 13; // on a small screen, where the board shrinks, names are drawn larger
const OWN_COLOUR = "#ef5350";
const OTHER_COLOUR = "#4f8cff";

const STATUS_TEXT = {
  connecting: () => "Connecting …",
  connected: ({ server }) => `Connected to ${server}, joining …`,
  joined: ({ server }) => `Playing on ${server}`,
  reconnecting: ({ reason }) => (reason ? `Reconnecting: ${reason}` : "Reconnecting …"),
  replaced: () => "You are playing in another window",
  refused: ({ reason }) => `Not let in: ${reason}`,
  closed: ({ reason }) => `Closed: ${reason}`,
};

const DIRECTIONS = {
  KeyW: [0, -1], ArrowUp: [0, -1],
  KeyA: [-1, 0], ArrowLeft: [-1, 0],
  KeyS: [0, 1], ArrowDown: [0, 1],
  KeyD: [1, 0], ArrowRight: [1, 0],
};

const query = new URLSearchParams(location.search);
const game = connect({ player: query.get("player") ?? undefined, prefer: query.get("server") ?? undefined });
const byId = (id) => document.getElementById(id);

// --- status

function showStatus(status) {
  document.body.dataset.status = status.status;
  document.body.dataset.node = status.status === "joined" ? status.server : "";
  document.body.dataset.player = game.player;
  byId("status").textContent = STATUS_TEXT[status.status](status);
  byId("node").textContent = status.server ?? "–";
  byId("player").textContent = game.player;
  const isOver = ["replaced", "refused"].includes(status.status);
  byId("notice").hidden = !isOver;
  if (isOver) byId("notice").querySelector("p").textContent = STATUS_TEXT[status.status](status);
}

game.on("status", showStatus);
byId("notice").querySelector("button").addEventListener("click", () => game.rejoin());

function showPosition() {
  Object.assign(document.body.dataset, game.position);
}

game.on("state", showPosition);
game.on("patch", showPosition);

function showFacts() {
  const { epoch, seq } = game.position;
  const ships = Object.entries(game.state.ships ?? {});
  document.body.dataset.players = ships.length;
  byId("position").textContent = `${epoch} · ${seq}`;
  byId("latency").textContent = game.latency === null ? "–" : `${game.latency.toFixed(1)} ms`;
  byId("count").textContent = String(ships.length);
  byId("players").replaceChildren(...ships.sort(ownFirst).map(([id, ship]) => playerLine(id, ship)));
}

function ownFirst([a], [b]) {
  return (b === game.player) - (a === game.player) || (a < b ? -1 : 1);
}

function playerLine(id, { x, y }) {
  const line = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { className: "name", textContent: id });
  const place = Object.assign(document.createElement("span"), { className: "place", textContent: `${x.toFixed(0)}, ${y.toFixed(0)}` });
  line.classList.toggle("own", id === game.player);
  Object.assign(line.dataset, { player: id, x, y });
  line.append(name, place);
  return line;
}

setInterval(showFacts, 250);

// --- keys

const held = new Set();

function steer() {
  if (held.size === 0 || game.unanswered >= MOST_UNANSWERED) return;
  const sum = [...held].map((key) => DIRECTIONS[key]).reduce(([dx, dy], [x, y]) => [dx + x, dy + y], [0, 0]);
  const [dx, dy] = sum.map(Math.sign);
  if (dx || dy) game.push("move", { dx, dy }).catch(() => {}); // the status says why
}

function press(key) {
  if (held.has(key)) return;
  held.add(key);
  steer();
}

addEventListener("keydown", (event) => {
  if (!(event.code in DIRECTIONS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  press(event.code);
});
addEventListener("keyup", ({ code }) => held.delete(code));
addEventListener("blur", () => held.clear());
for (const button of document.querySelectorAll(".pad button")) {
  button.addEventListener("pointerdown", () => press(button.dataset.key));
  for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
    button.addEventListener(end, () => held.delete(button.dataset.key));
  }
}
setInterval(steer, MOVES_MILLISECONDS);

// --- board

const board = byId("board");
const pen = board.getContext("2d");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
const shown = new Map(); // where each ship is drawn: glides to where it is

function draw() {
  const ships = game.state.ships ?? {};
  pen.clearRect(0, 0, board.width, board.height);
  drawGrid();
  for (const id of shown.keys()) if (!Object.hasOwn(ships, id)) shown.delete(id);
  const ids = Object.keys(ships).filter((id) => id !== game.player);
  for (const id of ids) drawShip(id, glide(id, ships[id]), OTHER_COLOUR);
  if (Object.hasOwn(ships, game.player)) drawShip(game.player, glide(game.player, ships[game.player]), OWN_COLOUR);
  requestAnimationFrame(draw);
}

function glide(id, { x, y }) {
  const from = shown.get(id);
  const share = from && !isCalm.matches ? 0.4 : 1;
  const to = from ? { x: from.x + (x - from.x) * share, y: from.y + (y - from.y) * share } : { x, y };
  shown.set(id, to);
  return to;
}

function drawGrid() {
  pen.strokeStyle = "#161c2d";
  pen.beginPath();
  for (let x = 50; x < board.width; x += 50) { pen.moveTo(x, 0); pen.lineTo(x, board.height); }
  for (let y = 50; y < board.height; y += 50) { pen.moveTo(0, y); pen.lineTo(board.width, y); }
  pen.stroke();
}

function drawShip(id, { x, y }, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, SHIP_RADIUS, 0, 2 * Math.PI);
  pen.fill();
  pen.fillStyle = "#e6e9f2";
  pen.font = `${NAME_PIXELS * Math.max(1, (0.8 * board.width) / board.clientWidth)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  const half = pen.measureText(id).width / 2 + 4;
  const nameX = Math.min(Math.max(x, half), board.width - half);
  pen.fillText(id, nameX, y > 40 ? y - SHIP_RADIUS - 6 : y + SHIP_RADIUS + 16);
}

showStatus(game.status);
draw();
