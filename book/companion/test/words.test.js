import assert from "node:assert/strict";
import { test } from "node:test";
import { _, counted } from "../js/words.js";

test("without words of a page's language texts are English, with their places filled once", () => {
  assert.equal(_("{1} of {2} answered", 3, "{1}"), "3 of {1} answered");
  assert.equal(counted(1, "card"), "1 card");
  assert.equal(counted(0, "new card"), "0 new cards");
});
