"""A stand-in for the Hugging Face Hub: the requests of an upload and of a download, in memory."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_of_the_stand_in"
LARGE = (".keras", ".onnx")
"""Files that go to large-file storage, as on the Hub."""


class Hub(BaseHTTPRequestHandler):
    """Serves one model; a subclass has its own `files` (name -> bytes) and `objects`."""

    files: dict[str, bytes]
    objects: dict[str, bytes]

    def log_message(self, *words):
        """Say nothing."""

    def answer(self, content=b"", status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def address(self, path):
        return f"http://{self.headers['Host']}/{path}"

    def do_POST(self):
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.body()
            return self.answer({"error": "Invalid credentials"}, 401)
        path, body = urlsplit(self.path).path, self.body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            return self.answer({"url": self.address(name), "name": name})
        if path == "/api/validate-yaml":
            block = json.loads(body)["content"].split("---\n")[1]
            known = isinstance(yaml.safe_load(block).get("license"), str)
            faults = [] if known else [{"message": "license: expected text"}]
            return self.answer({"errors": faults, "warnings": []}, 200 if known else 400)
        if path == "/api/models/user/faces/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]
            return self.answer({"files": files})
        if path == "/user/faces.git/info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            for each in objects:
                each["actions"] = {"upload": {"href": self.address(f"upload/{each['oid']}")}}
            return self.answer({"transfer": "basic", "objects": objects})
        if path == "/api/models/user/faces/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.objects[value["oid"]]
            commit = {"commitUrl": self.address("user/faces/commit/1"), "commitOid": "1" * 40}
            return self.answer(commit | {"hookOutput": ""})
        return self.answer({"error": f"unexpected {self.path}"}, 404)

    def do_PUT(self):
        content = self.body()
        wanted = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != wanted:
            return self.answer({"error": "other bytes"}, 400)
        self.objects[wanted] = content
        return self.answer()

    def do_GET(self):
        _, user, model, resolve, revision, name = [*self.path.split("/"), "", "", ""][:6]
        if f"{user}/{model}/{resolve}" != "user/faces/resolve":
            return self.answer({}, 404, X_Error_Code="RepoNotFound")
        if revision not in ("main", "1" * 40):
            return self.answer({}, 404, X_Error_Code="RevisionNotFound")
        if name not in self.files:
            return self.answer({}, 404, X_Error_Code="EntryNotFound")
        content = self.files[name]
        digest = hashlib.sha256(content).hexdigest()
        return self.answer(content, X_Repo_Commit="1" * 40, ETag=f'"{digest}"')

    do_HEAD = do_GET
