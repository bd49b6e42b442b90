// What the npm packages' networks answer in their own runtime, TensorFlow.js, and how fast.
//
//     node original.mjs NODE_MODULES FACES BACKEND
//
// FACES holds n faces of 48x48 uint8, one after the other; BACKEND is cpu or wasm. Prints
// {"face_api": {"probabilities": [[…], …], "faces_per_second": …}, "human": …}; the speed is of one
// face at a time, per second of processor time. check_ports.py calls it.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [modules, faces, backend] = process.argv.slice(2);
console.log = console.error; // TensorFlow.js greets on standard output
const require = createRequire(path.join(path.resolve(modules), "x.js"));
const tf = require("@tensorflow/tfjs");
const wasm = require("@tensorflow/tfjs-backend-wasm");
wasm.setWasmPaths(path.join(path.resolve(modules), "@tensorflow/tfjs-backend-wasm/dist/"));
wasm.setThreadsCount(1);
await tf.setBackend(backend);
await tf.ready();

const content = fs.readFileSync(faces);
const grey = tf.tensor4d(new Float32Array(content), [content.length / 48 / 48, 48, 48, 1]);
const colour = tf.unstack(tf.tile(grey, [1, 1, 1, 3]));

function readGroup(folder, group) {
  const parts = group.paths.map((name) => fs.readFileSync(path.join(folder, name)));
  return new Uint8Array(Buffer.concat(parts)).buffer;
}

async function loadFaceApi() {
  const faceapi = require("@vladmandic/face-api/dist/face-api.node-wasm.js");
  const folder = path.join(modules, "@vladmandic/face-api/model");
  const manifest = path.join(folder, "face_expression_model-weights_manifest.json");
  const [group] = JSON.parse(fs.readFileSync(manifest));
  const network = new faceapi.FaceExpressionNet();
  network.loadFromWeightMap(tf.io.decodeWeights(readGroup(folder, group), group.weights));
  return async (face) => network.forwardInput(await faceapi.toNetInput(face));
}

async function loadHuman() {
  const folder = path.join(modules, "@vladmandic/human/models");
  const graph = JSON.parse(fs.readFileSync(path.join(folder, "emotion.json")));
  const [group] = graph.weightsManifest;
  const network = await tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology: graph.modelTopology,
      weightSpecs: group.weights,
      weightData: readGroup(folder, group),
    }),
  );
  const greyOf = tf.tensor1d([0.2989, 0.587, 0.114]);
  return async (face) =>
    tf.tidy(() => {
      const small = tf.image.resizeBilinear(face.div(255).expandDims(0), [64, 64], false);
      return network.execute(small.mul(greyOf).sum(3, true).sub(0.5).mul(2));
    });
}

const found = {};
for (const [name, load] of Object.entries({ face_api: loadFaceApi, human: loadHuman })) {
  const answer = await load();
  const probabilities = [];
  for (const face of colour) probabilities.push([...(await (await answer(face)).data())]);
  const before = process.cpuUsage();
  for (const face of colour) await (await answer(face)).data();
  const { user, system } = process.cpuUsage(before);
  found[name] = { probabilities, faces_per_second: (colour.length * 1e6) / (user + system) };
}
process.stdout.write(JSON.stringify(found));
